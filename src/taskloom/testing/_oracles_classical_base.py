"""What the oracle runs of all classical estimators use: a case, its data, and how a method is put into a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised import LogisticRisk, SquaredRisk, TaskData, largest_alpha
from taskloom.task_column import fit_rows, loss_factors
from taskloom.testing._oracles_base import Parameters, Unsupported

__all__ = [
    "Case",
    "Method",
    "certified",
    "determined",
    "fit_case",
    "fit_school",
    "is_classes",
    "largest_strength",
    "load_school",
]

Array = NDArray[np.float64]
TOLERANCE = 1e-13  # of the solvers: the files ask for objectives to 1e-8


@dataclass(frozen=True)
class Case:
    """One entry of a file of arrays.

    Args:
        key: ``<data>/<loss weights>/<ic or noic>/<method>[/...]``, ``school/<method>/...`` or ``<family>/<method>``.
        params: what the file says about the entry; empty for arrays without an entry.
        expected: arrays below the key, by the rest of their names.
        arrays: all arrays of the file.
        others: parameters of the other entries, by key.
        data: folder of data sets; None if there is none.
    """

    key: str
    params: Parameters
    expected: Mapping[str, Array]
    arrays: Mapping[str, Array] = field(repr=False)
    others: Mapping[str, Parameters] = field(default_factory=dict, repr=False)
    data: Path | None = None

    @property
    def method(self) -> str:
        """Name of the method in the tables."""
        parts = self.key.split("/")
        if f"data/{parts[0]}/X" in self.arrays:
            return parts[3]
        return "/".join(parts[:2])

    @property
    def fit_intercept(self) -> bool:
        """As the key says."""
        return self.key.split("/")[2] == "ic"

    @property
    def loss_weights(self) -> str:
        """As the key says."""
        return self.key.split("/")[1]

    @cached_property
    def is_long(self) -> bool:
        """Whether the data have a task column."""
        return f"data/{self.key.split('/')[0]}/task" in self.arrays

    @property
    def table(self) -> tuple[Array, Array]:
        """X, with the task column first where there is one, and y."""
        place = f"data/{self.key.split('/')[0]}"
        X = self.arrays[f"{place}/X"]
        if not self.is_long:
            return X, self.arrays[f"{place}/Y"]
        return np.column_stack([self.arrays[f"{place}/task"], X]), self.arrays[f"{place}/y"]

    def parameter(self, name: str) -> Any:
        """A parameter of the entry.

        Raises:
            Unsupported: the entry has no such parameter.
        """
        if name not in self.params:
            raise Unsupported(f"no parameter {name!r} in {sorted(self.params)}")
        return self.params[name]


@dataclass(frozen=True)
class Method:
    """How to compute the values of a case.

    Args:
        run: from a case to arrays by the names they have in the file; what it leaves out is not compared.
        tolerances: relative tolerances that differ from the usual ones, by name.
        is_unique: whether there is one minimiser whatever the data; if not, coefficients that differ are compared by
            what the data determine of them (:func:`determined`).
    """

    run: Callable[[Case], Mapping[str, Any]]
    tolerances: Mapping[str, float] = field(default_factory=dict)
    is_unique: bool = True


def fit_case(case: Case, estimator: Any) -> Any:
    """Fit an estimator on the data of a case, accurately, with the loss weights and the intercept of its key."""
    X, y = case.table
    known = estimator.get_params()
    changes: dict[str, Any] = {"task_feature": 0 if case.is_long else None, "tol": TOLERANCE, "max_iter": 100_000}
    changes |= {"fit_intercept": case.fit_intercept, "loss_weights": case.loss_weights}
    return estimator.set_params(**{name: value for name, value in changes.items() if name in known}).fit(X, y)


def certified(estimator: Any) -> dict[str, Any]:
    """Objective, coefficients and intercepts of a fitted linear estimator, as the files name them."""
    return {"obj": estimator.objective_, "A": estimator.coef_.T, "b": estimator.intercept_}


def load_school(case: Case) -> tuple[Array, Array]:
    """The School data in long format, the task column first: 28 columns as they are, 139 tasks.

    Raises:
        Unsupported: the file is not there.
    """
    from scipy.io import loadmat

    if case.data is None:
        raise Unsupported("no folder of data sets: pass --data or set TASKLOOM_DATA")
    path = case.data / "school" / "school.mat"
    if not path.is_file():
        raise Unsupported(f"{path} is not there")
    content = loadmat(path, mat_dtype=True)
    designs, targets = list(content["X"].ravel()), list(content["Y"].ravel())
    tasks = np.repeat(np.arange(len(designs)), [len(design) for design in designs])
    return np.column_stack([tasks, np.concatenate(designs)]), np.concatenate(targets).ravel()


def is_classes(case: Case) -> bool:
    """Whether the labels of a case are two classes."""
    return case.params.get("loss") == "logistic" or set(np.unique(case.table[1])) == {-1.0, 1.0}


def largest_strength(case: Case, estimator: Any, penalty: Any) -> float:
    """By how much the penalty has to be multiplied for all coefficients to become 0.

    Args:
        case: with data, loss weights and intercept.
        estimator: regressor or classifier.
        penalty: of strength 1.
    """
    X, y = case.table
    rows = fit_rows(estimator.set_params(task_feature=0 if case.is_long else None), X, y=y)
    factors = loss_factors(rows, case.loss_weights)
    weights = tuple(c * s for c, s in zip(factors, rows.sample_weights, strict=True))
    data = TaskData(rows.designs, rows.targets, weights, case.fit_intercept)
    return largest_alpha(LogisticRisk(data) if is_classes(case) else SquaredRisk(data), penalty)


def fit_school(case: Case, estimator: Any, *, factor: float) -> dict[str, Array]:
    """Fit the School data with weight 1 for every sample: tasks weigh as much as their numbers of samples.

    Args:
        case: an entry of School.
        estimator: what to fit.
        factor: 2 where the objective of the file has squares without 1/2.
    """
    X, y = load_school(case)
    sizes = np.unique(X[:, 0], return_counts=True)[1]
    fitted = estimator.set_params(
        task_feature=0, fit_intercept=False, loss_weights=sizes, tol=1e-9, max_iter=100_000
    ).fit(X, y)
    return {"obj": np.asarray(factor * fitted.objective_), "A": fitted.coef_.T}


def determined(case: Case, values: Mapping[str, Array]) -> dict[str, Array]:
    """What all minimisers of a strictly convex loss have in common, in the place of coefficients and intercepts.

    The predictors of the samples are the same for all. So are the parts of the coefficients in the row spaces of the
    (centred) designs, and the mean predictors. Penalties without curvature, such as absolute values, decide no further
    where a task has fewer samples than features.

    Args:
        case: with its data.
        values: ``A`` (d, T), and ``b`` (T,) where there are intercepts.
    """
    found = {name: np.array(value, dtype=np.float64) for name, value in values.items()}
    means = np.zeros_like(found["A"])
    for task, design in enumerate(_designs(case)):
        if "b" in found:
            means[:, task] = design.mean(axis=0)
        _, sizes, right = np.linalg.svd(design - means[:, task], full_matrices=False)
        rows = right[sizes > 1e-9 * sizes.max(initial=0.0)]
        found["A"][:, task] = rows.T @ (rows @ found["A"][:, task])
    if "b" in found:
        found["b"] += (means * values["A"]).sum(axis=0)
    return found


def _designs(case: Case) -> list[Array]:
    """The rows of each task."""
    X, y = load_school(case) if case.key.startswith("school/") else case.table
    if y.ndim == 2:
        return [X[~np.isnan(column)] for column in y.T]
    return [X[X[:, 0] == task, 1:] for task in np.unique(X[:, 0])]
