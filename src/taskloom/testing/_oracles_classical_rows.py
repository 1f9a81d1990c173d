"""Oracle runs: norms of rows and entries, the dirty model, and capped norms, with both losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from taskloom.linear import (
    DirtyModel,
    DirtyModelClassifier,
    MultiStageFeature,
    MultiTaskGroupLasso,
    MultiTaskGroupLassoClassifier,
    MultiTaskLasso1,
    MultiTaskLasso1Classifier,
)
from taskloom.regularised import EntryNorm, RowNorm
from taskloom.testing._oracles_classical_base import (
    Array,
    Case,
    Method,
    certified,
    fit_case,
    fit_school,
    is_classes,
    largest_strength,
)

__all__ = ["METHODS"]

# Strengths that are small for these data leave the coefficients of School ill-determined; the file certifies the lasso
# of strength 10 to a gap of 6e-5 only.
SCHOOL_TOLERANCES = {"obj": 1e-7, "A": 1e-3}


def _group_lasso(q: float) -> Callable[[Case], dict[str, Any]]:
    def run(case: Case) -> dict[str, Any]:
        twin = MultiTaskGroupLassoClassifier if is_classes(case) else MultiTaskGroupLasso
        if "lambda_max" in case.expected:
            return {"lambda_max": largest_strength(case, twin(), RowNorm(1.0, q))}
        estimator = twin(case.parameter("alpha"), q=q, l2=case.params.get("l2", 0.0))
        return certified(fit_case(case, estimator))

    return run


def _group_lasso_of_own_powers(case: Case) -> dict[str, Any]:
    """One q per feature, stored beside the strengths."""
    twin = MultiTaskGroupLassoClassifier if is_classes(case) else MultiTaskGroupLasso
    powers = case.arrays[f"{case.key.rpartition('/')[0]}/q"]
    if "lambda_max" in case.expected:
        return {"lambda_max": largest_strength(case, twin(), RowNorm(1.0, powers))}
    return certified(fit_case(case, twin(case.parameter("alpha"), q=powers)))


def _lasso(case: Case) -> dict[str, Any]:
    twin = MultiTaskLasso1Classifier if is_classes(case) else MultiTaskLasso1
    if "lambda_max" in case.expected:
        return {"lambda_max": largest_strength(case, twin(), EntryNorm(1.0))}
    return certified(fit_case(case, twin(case.parameter("alpha"))))


def _dirty(case: Case) -> dict[str, Any]:
    twin = DirtyModelClassifier if is_classes(case) else DirtyModel
    shared, specific = case.parameter("alpha_shared"), case.parameter("alpha_specific")
    return certified(fit_case(case, twin(shared, alpha_specific=specific, q=float(case.parameter("q")))))


def _capped(case: Case) -> dict[str, Any]:
    """Later stages have features without a penalty: their objectives are unique, their coefficients may not be."""
    estimator = MultiStageFeature(
        case.parameter("alpha"), theta=case.parameter("theta"), n_stages=case.parameter("stages")
    )
    first = fit_case(case, MultiStageFeature(case.parameter("alpha"), theta=case.parameter("theta"), n_stages=1))
    fitted = fit_case(case, estimator)
    objectives = fitted.stage_objectives_
    missing = case.parameter("stages") - len(objectives)  # nothing changes after the last stage
    return {
        "obj": fitted.objective_,
        "stage_obj": np.concatenate([objectives, np.full(missing, objectives[-1])]),
        "A_stage1": first.coef_.T,
    }


def _school_lasso(case: Case) -> dict[str, Array]:
    found = fit_school(case, MultiTaskLasso1(case.parameter("rho1")), factor=1)
    return found if case.parameter("rho1") > 10 else {"obj": found["obj"]}


def _school_group_lasso(case: Case) -> dict[str, Array]:
    return fit_school(case, MultiTaskGroupLasso(case.parameter("rho1")), factor=1)


def _school_dirty(case: Case) -> dict[str, Array]:
    shared, specific = case.parameter("lambda1"), case.parameter("lambda2")
    return fit_school(case, DirtyModel(shared / 2, alpha_specific=specific / 2), factor=2)


METHODS = {
    "lasso": Method(_lasso, is_unique=False),
    "l1l2": Method(_group_lasso(2.0), is_unique=False),
    "l1linf": Method(_group_lasso(np.inf), is_unique=False),
    "l1lq_q1.5": Method(_group_lasso(1.5), is_unique=False),
    "l1lq_q3": Method(_group_lasso(3.0), is_unique=False),
    "l1lq_rowq": Method(_group_lasso_of_own_powers, is_unique=False),
    "l1l2_ridge": Method(_group_lasso(2.0)),
    "dirty_linf": Method(_dirty, is_unique=False),
    "dirty_l2": Method(_dirty, is_unique=False),
    "capped_l1": Method(_capped),
    "school/lasso": Method(_school_lasso, tolerances=SCHOOL_TOLERANCES, is_unique=False),
    "school/l21": Method(_school_group_lasso, tolerances=SCHOOL_TOLERANCES, is_unique=False),
    "school/dirty": Method(_school_dirty, tolerances=SCHOOL_TOLERANCES, is_unique=False),
}
