"""Oracle runs: norms of singular values, parts with outliers, and progressions, with both losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskloom.linear import (
    FusedSparseGroupLasso,
    FusedSparseGroupLassoClassifier,
    RobustFeature,
    RobustFeatureClassifier,
    RobustLowRank,
    RobustLowRankClassifier,
    SparseLowRank,
    SparseLowRankClassifier,
    SquaredTraceNorm,
    SquaredTraceNormClassifier,
    TemporalGroupLasso,
    TemporalGroupLassoClassifier,
    TraceNorm,
    TraceNormClassifier,
)
from taskloom.regularised import LogisticRisk, SquaredRisk, TaskData, Trace, largest_alpha
from taskloom.task_column import fit_rows, loss_factors
from taskloom.testing._oracles_classical_base import Array, Case, Method, certified, fit_case, load_school

__all__ = ["METHODS"]

SCHOOL_TOLERANCES = {"obj": 1e-7, "A": 1e-4}


def _is_classes(case: Case) -> bool:
    return case.params.get("loss") == "logistic" or set(np.unique(case.table[1])) == {-1.0, 1.0}


def _trace(case: Case) -> dict[str, Any]:
    twin = TraceNormClassifier if _is_classes(case) else TraceNorm
    if "lambda_max" in case.expected:
        return {"lambda_max": _largest_alpha(case, twin())}
    return certified(fit_case(case, twin(case.parameter("alpha"))))


def _largest_alpha(case: Case, estimator: Any) -> float:
    X, y = case.table
    rows = fit_rows(estimator.set_params(task_feature=0 if case.is_long else None), X, y=y)
    factors = loss_factors(rows, case.loss_weights)
    weights = tuple(c * s for c, s in zip(factors, rows.sample_weights, strict=True))
    data = TaskData(rows.designs, rows.targets, weights, case.fit_intercept)
    return largest_alpha(LogisticRisk(data) if _is_classes(case) else SquaredRisk(data), Trace(1.0))


def _squared_trace(case: Case) -> dict[str, Any]:
    twin = SquaredTraceNormClassifier if _is_classes(case) else SquaredTraceNorm
    return certified(fit_case(case, twin(case.parameter("alpha"))))


def _relations(case: Case) -> dict[str, Any]:
    twin = SquaredTraceNormClassifier if _is_classes(case) else SquaredTraceNorm
    alpha, ridge = case.parameter("alpha_relation"), case.parameter("alpha_ridge")
    return certified(fit_case(case, twin(alpha, alpha_ridge=ridge)))


def _sparse_low_rank(case: Case) -> dict[str, Any]:
    twin = SparseLowRankClassifier if _is_classes(case) else SparseLowRank
    alpha, trace = case.parameter("alpha_sparse"), case.parameter("alpha_trace")
    return certified(fit_case(case, twin(alpha, alpha_trace=trace)))


def _sparse_low_rank_bounded(case: Case) -> dict[str, Any]:
    twin = SparseLowRankClassifier if _is_classes(case) else SparseLowRank
    return certified(fit_case(case, twin(case.parameter("alpha_sparse"), tau=case.parameter("tau"))))


def _robust_low_rank(case: Case) -> dict[str, Any]:
    twin = RobustLowRankClassifier if _is_classes(case) else RobustLowRank
    alpha, outlier = case.parameter("alpha_trace"), case.parameter("alpha_outlier")
    return certified(fit_case(case, twin(alpha, alpha_outlier=outlier)))


def _robust_feature(case: Case) -> dict[str, Any]:
    twin = RobustFeatureClassifier if _is_classes(case) else RobustFeature
    alpha, outlier = case.parameter("alpha_feature"), case.parameter("alpha_outlier")
    return certified(fit_case(case, twin(alpha, alpha_outlier=outlier)))


def _fit_school(case: Case, estimator: Any, *, factor: float) -> dict[str, Array]:
    """Fit with weight 1 for every sample: with weights of the tasks as large as their numbers of samples.

    ``factor`` is 2 where the objective of the file has squares without 1/2.
    """
    X, y = load_school(case)
    sizes = np.unique(X[:, 0], return_counts=True)[1]
    fitted = estimator.set_params(
        task_feature=0, fit_intercept=False, loss_weights=sizes, tol=1e-9, max_iter=100_000
    ).fit(X, y)
    return {"obj": np.asarray(factor * fitted.objective_), "A": fitted.coef_.T}


def _school_trace(case: Case) -> dict[str, Array]:
    return _fit_school(case, TraceNorm(case.parameter("rho1")), factor=1)


def _school_robust_low_rank(case: Case) -> dict[str, Array]:
    trace, outlier = case.parameter("rho1"), case.parameter("rho2")
    return _fit_school(case, RobustLowRank(trace / 2, alpha_outlier=outlier / 2), factor=2)


def _school_robust_feature(case: Case) -> dict[str, Array]:
    feature, outlier = case.parameter("lambda1"), case.parameter("lambda2")
    return _fit_school(case, RobustFeature(feature / 2, alpha_outlier=outlier / 2), factor=2)


def _school_sparse_trace(case: Case) -> dict[str, Array]:
    sparse, tau = case.parameter("gamma"), case.parameter("tau")
    return _fit_school(case, SparseLowRank(sparse / 2, tau=tau), factor=2)


def _temporal(case: Case) -> dict[str, Any]:
    twin = TemporalGroupLassoClassifier if _is_classes(case) else TemporalGroupLasso
    temporal, ridge = case.parameter("alpha_temporal"), case.parameter("alpha_ridge")
    return certified(fit_case(case, twin(case.parameter("alpha_group"), alpha_temporal=temporal, alpha_ridge=ridge)))


def _fused(case: Case) -> dict[str, Any]:
    twin = FusedSparseGroupLassoClassifier if _is_classes(case) else FusedSparseGroupLasso
    fused, group = case.parameter("alpha_fused"), case.parameter("alpha_group")
    return certified(fit_case(case, twin(case.parameter("alpha_l1"), alpha_fused=fused, alpha_group=group)))


METHODS = {
    "trace": Method(_trace),
    "sq_trace(mtfl)": Method(_squared_trace),
    "mtrl": Method(_relations),
    "sparse_lowrank_pen": Method(_sparse_low_rank),
    "sparse_lowrank_con": Method(_sparse_low_rank_bounded),
    "rmtl": Method(_robust_low_rank),
    "rmtfl": Method(_robust_feature),
    "tgl": Method(_temporal),
    "cfsgl": Method(_fused),
    "school/trace": Method(_school_trace, tolerances=SCHOOL_TOLERANCES),
    "school/rmtl": Method(_school_robust_low_rank, tolerances=SCHOOL_TOLERANCES),
    "school/rmtfl": Method(_school_robust_feature, tolerances=SCHOOL_TOLERANCES),
    "school/sparsetrace": Method(_school_sparse_trace, tolerances=SCHOOL_TOLERANCES),
}
