"""What kernel ridge regression with a given and with a chosen alpha have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError
from taskloom.kernel._base_kernel import BaseKernel, scaled_gamma
from taskloom.kernel._ridge_problem import Problem
from taskloom.kernel._stacked import mixing_of, stack_rows
from taskloom.kernel._task_kernel import covariance_of, laplacian, mean_covariance, symmetric
from taskloom.task_column import (
    TaskRows,
    check_flag,
    check_number,
    fit_rows,
    labelled_r2,
    loss_factors,
    predict_rows,
    refuse_unused,
)

__all__ = ["KernelRidgeBase", "check_alphas", "shape_of"]

Array = NDArray[np.float64]


class KernelRidgeBase(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Validation, attributes and prediction; subclasses have the parameters and say which alpha."""

    kernel: Any
    coupling: float
    graph: Any
    task_precision: Any
    gamma: Any
    degree: float
    coef0: float
    fit_intercept: bool
    loss_weights: Any
    task_feature: Any
    unknown_task: str

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_feature is None
        tags.input_tags.sparse = True
        return tags

    def _problem(self, X: Any, y: Any, sample_weight: Any) -> tuple[Problem, TaskRows]:
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        rows = fit_rows(self, X, y=y, sample_weight=sample_weight, accept_sparse=True)
        self.tasks_, self.n_tasks_, self._output_ndim = rows.tasks, rows.n_tasks, rows.output_ndim
        self.task_covariance_ = self._covariance(rows.n_tasks)
        samples = stack_rows(rows)
        gamma = scaled_gamma(self.gamma, samples.inputs, samples.weights)
        self._kernel = BaseKernel(self.kernel, gamma, self.degree, self.coef0)
        problem = Problem(
            rows,
            self._kernel,
            task_covariance=self.task_covariance_,
            factors=loss_factors(rows, self.loss_weights),
            fit_intercept=check_flag("fit_intercept", self.fit_intercept),
        )
        return problem, rows

    def _covariance(self, n_tasks: int) -> Array:
        if self.task_precision is not None:
            if self.graph is not None:
                raise DataError("task_precision and graph are both given; a task precision is all there is to know")
            precision = symmetric("task_precision", self.task_precision, n_tasks)
            refuse_unused(self, "coupling", beside="a task_precision", instead="put it into the matrix")
            return covariance_of(precision)
        if self.graph is None:
            return mean_covariance(self.coupling, n_tasks)
        check_number("coupling", self.coupling, note="with a graph; 0: independent tasks")
        return covariance_of(np.eye(n_tasks) + self.coupling * laplacian(self.graph, n_tasks))

    def _set_solution(self, problem: Problem, alpha: float, shape: tuple[int, ...]) -> None:
        """Attributes of the solution, with its certificate."""
        dual, self.intercept_ = problem.solve(alpha)
        self._inputs, self._coefficients = problem.inputs, problem.coefficients(dual)
        self.dual_coef_ = problem.samples.scattered(problem.of_samples(dual, alpha), shape)
        self._certify(problem, dual, alpha)
        if isinstance(self.kernel, str) and self.kernel == "linear":
            self.coef_ = np.asarray((problem.inputs.T @ self._coefficients).T)

    def _certify(self, problem: Problem, dual: Array, alpha: float) -> None:
        """Objective, and the gap to the dual value at ``u = alpha beta``."""
        samples, functions = problem.samples, problem.functions(dual)
        misses = samples.targets - functions[problem.place] - self.intercept_[samples.tasks]
        half_norm = 0.5 * alpha * float(dual @ functions)
        self.objective_ = 0.5 * float(problem.weights @ misses**2) + half_norm
        scaled = alpha * problem.of_samples(dual, alpha)
        value = float(scaled @ samples.targets - 0.5 * (scaled**2 / problem.weights).sum()) - half_norm
        self.dual_gap_ = self.objective_ - value

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Values of each row (and task).

        Args:
            X: rows as in ``fit``.

        Returns:
            (m,), or (m, T) after a y of that shape.
        """
        check_is_fitted(self)
        rows = predict_rows(self, X, unknown_task=self.unknown_task, accept_sparse=True)
        table = np.asarray(self._kernel(rows.design, self._inputs) @ self._coefficients) + self.intercept_  # (m, T)
        if rows.positions is None:
            return table if self._output_ndim == 2 else table[:, 0]
        values: Array = np.einsum("mt,mt->m", table, mixing_of(rows.positions, self.n_tasks_))
        return values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 over all rows, or its mean over the tasks; missing labels are left out.

        Args:
            X: rows as in ``fit``.
            y: labels, as in ``fit``.
            sample_weight: (m,).
        """
        return labelled_r2(y, self.predict(X), sample_weight=sample_weight)

    def leave_one_out(
        self, X: Any, y: Any, *, sample_weight: Any = None, alphas: Sequence[float] | None = None
    ) -> NDArray[np.float64]:
        """Predict every label from the model of all other rows, without fitting again.

        Exact: the prediction of the same problem without the terms of that row (the factors c_t of the other terms
        stay). With one column of y per task all labels of the row are left out: a new row has none that could tell
        about the others. A label of weight 2 is two labels, one of which is left out; one of weight below 1 is left out
        whole. One eigendecomposition serves all values of alpha.

        Args:
            X: as in ``fit``.
            y: as in ``fit``.
            sample_weight: as in ``fit``.
            alphas: strengths of the penalty; default that of the estimator, without the leading axis.

        Returns:
            (len(alphas), n), or (len(alphas), n, T) for a y of that shape; NaN where there is no label, and where it is
            the only one of its task and tasks have intercepts.
        """
        model = clone(self)
        problem, rows = model._problem(X, y, sample_weight)
        strengths = check_alphas([model._own_alpha()] if alphas is None else alphas)
        residuals = problem.left_out(strengths)
        shape = shape_of(rows, y)
        found = np.full((len(strengths), *shape), np.nan)
        for table, residual in zip(found, residuals, strict=True):
            place = problem.samples.rows if len(shape) == 1 else (problem.samples.rows, problem.samples.tasks)
            table[place] = problem.samples.targets - residual
        return found if alphas is not None else found[0]

    def _own_alpha(self) -> float:
        raise DataError("alpha is not given; name the values wanted: alphas=")


def shape_of(rows: TaskRows, y: Any) -> tuple[int, ...]:
    """(n,), or (n, T) where y has one column per task."""
    n_rows = len(np.asarray(y))
    return (n_rows,) if rows.output_ndim == 1 else (n_rows, rows.n_tasks)


def check_alphas(alphas: Any) -> list[float]:
    """At least one number, all positive, or an error."""
    given = alphas if isinstance(alphas, str) else np.ravel(alphas).tolist()
    if not given or isinstance(given, str):
        raise DataError(f"alphas={alphas!r}; expected at least one number, all positive")
    return [check_number("alphas", one, is_open=True, note="each of them") for one in given]
