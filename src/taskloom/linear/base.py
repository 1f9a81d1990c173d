r"""What linear estimators of several tasks have in common: from checked rows to a certified solution and predictions.

    min over A, b of  sum_t c_t sum_i s_ti l(y_ti, x_ti . a_t + b_t) + penalty(A)

with the squared loss ``(y - eta)^2 / 2`` for regressors, ``log(1 + exp(-y eta))`` with y in {-1, 1} for classifiers. A
method is a class with the penalty; :class:`TaskRegressor` and :class:`TaskClassifier` make its twins.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError, TaskError
from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.logistic_risk import LogisticRisk
from taskloom.regularised.minimum_norm import minimum_norm
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupled import Coupled
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.solve import solve
from taskloom.task_column import (
    PredictRows,
    TaskRows,
    check_flag,
    check_number,
    check_whole,
    fit_rows,
    labelled_accuracy,
    labelled_r2,
    loss_factors,
    predict_rows,
)

__all__ = ["TaskClassifier", "TaskLinearModel", "TaskRegressor", "check_number"]

Array = NDArray[np.float64]


class TaskLinearModel(BaseEstimator):  # type: ignore[misc]
    """Base of the linear estimators. A subclass says what the penalty is, and may say how to solve.

    Args:
        task_feature: position or name of the column of X that says which task a row belongs to; None: all tasks share
            the rows of X, and y has one column per task (or one axis, for a single task).
        fit_intercept: whether every task has an intercept; it is never penalised.
        loss_weights: ``"sample"``, ``"task"`` or T positive numbers: see :func:`taskloom.task_column.loss_factors`.
        tol: the solver stops at a duality gap of this fraction of the risk at zero coefficients.
        max_iter: iterations at most; what an iteration is depends on the solver.
        warm_start: begin with the solution of the last ``fit``.
        unknown_task: ``"error"``, or ``"mean"``: tasks that ``fit`` did not see are predicted by the mean of all tasks.
    """

    def __init__(
        self,
        *,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        self.task_feature = task_feature
        self.fit_intercept = fit_intercept
        self.loss_weights = loss_weights
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.unknown_task = unknown_task

    # -- what a method says ---------------------------------------------------------------------------------------

    def _penalty(self, n_tasks: int, n_features: int) -> Penalty | PartSum | Coupled | None:
        """The penalty on A, shape (d, T), after checking the parameters; None if it is zero everywhere."""
        raise NotImplementedError

    def _solve(self, data: TaskData, penalty: Any, start: Solution | None) -> Solution:
        """Minimise risk plus penalty."""
        return solve(self._risk(data), penalty, tol=self.tol, max_iterations=self.max_iter, start=start)

    def _risk(self, data: TaskData) -> SquaredRisk | LogisticRisk:
        """The risk of the data under the loss of the twin."""
        raise NotImplementedError

    def _solve_unpenalised(self, data: TaskData) -> Solution:
        """Minimise the risk alone."""
        raise NotImplementedError

    # -- fit ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the coefficients of all tasks.

        Args:
            X: (n, d), or (n, d + 1) with the task column: array, sparse matrix or data frame.
            y: (n,); without a task column also (n, T), NaN where a label is missing.
            sample_weight: (n,), or (n, T) for a y of that shape; weights of at least 0.

        Returns:
            the estimator.
        """
        self._check_parameters()
        rows = self._admit(fit_rows(self, X, y=y, sample_weight=sample_weight, accept_sparse=True))
        factors = loss_factors(rows, self.loss_weights)
        data = TaskData(
            designs=rows.designs,
            targets=rows.targets,
            weights=_weights(rows, factors),
            fit_intercept=bool(self.fit_intercept),
        )
        solution = self._fit(rows, data)
        self._store(rows, solution)
        if not solution.converged:
            warnings.warn(
                f"{type(self).__name__} stopped after {solution.n_iterations} iterations at a duality gap of "
                f"{solution.gap:.3g} (objective {solution.objective:.6g}), above tol={self.tol:g} times the risk at "
                "zero coefficients; increase max_iter, scale the features, or accept the gap by raising tol",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        """From checked data to the solution."""
        penalty = self._penalty(rows.n_tasks, rows.n_features)
        if penalty is None:
            return self._solve_unpenalised(data)
        return self._solve(data, penalty, self._start(rows))

    def _check_parameters(self) -> None:
        check_number("tol", self.tol, is_open=True)
        check_whole("max_iter", self.max_iter)
        check_flag("warm_start", self.warm_start)
        self._check_intercept()
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')

    def _check_intercept(self) -> None:
        check_flag("fit_intercept", self.fit_intercept)

    def _admit(self, rows: TaskRows) -> TaskRows:
        """The rows that the loss is made of."""
        return rows

    def _start(self, rows: TaskRows) -> Solution | None:
        last = getattr(self, "_solution", None) if self.warm_start else None
        shape = (rows.n_features, rows.n_tasks)
        return last if last is not None and last.parts[0].shape == shape else None

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        self.tasks_ = rows.tasks
        self.n_tasks_ = rows.n_tasks
        self.coef_ = np.ascontiguousarray(solution.coefficients.T)
        self.intercept_ = solution.intercepts
        self.objective_ = solution.objective
        self.dual_gap_ = solution.gap
        self.n_iter_ = max(solution.n_iterations, 1)
        self._output_ndim = rows.output_ndim
        if self.warm_start:
            self._solution = solution

    # -- predict --------------------------------------------------------------------------------------------------

    def _predictor(self, X: Any) -> Array:
        """``x . a_t + b_t``: (n,) for the task of each row, or (n, T) for all tasks where these share X."""
        check_is_fitted(self)
        found = predict_rows(self, X, unknown_task=self.unknown_task, accept_sparse=True)
        if found.positions is None:
            every: Array = np.asarray(found.design @ self.coef_.T) + self.intercept_
            return every.ravel() if self._output_ndim == 1 else every
        return _by_task(found, *self._with_mean())

    def _with_mean(self) -> tuple[Array, Array]:
        """Coefficients and intercepts of all tasks and, last, of a task that was not fitted."""
        finite = np.isfinite(self.intercept_)
        mean = self.intercept_[finite].mean() if finite.any() else 0.0
        return np.vstack([self.coef_, self.coef_.mean(axis=0)]), np.append(self.intercept_, mean)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_feature is None
        tags.target_tags.single_output = True
        tags.input_tags.sparse = True
        return tags


class TaskRegressor(RegressorMixin):  # type: ignore[misc]
    """What makes a regressor of a :class:`TaskLinearModel`: the squared loss."""

    _predictor: Any
    tol: float

    def predict(self, X: Any) -> Array:
        """Predict the task of each row, or all tasks where these share X.

        Args:
            X: as in ``fit``.

        Returns:
            (n,), or (n, T) if y had two axes in ``fit``.
        """
        found: Array = self._predictor(X)
        return found

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 over all rows together; for a y with one column per task the mean of R^2 over the tasks.

        Args:
            X: as in ``fit``.
            y: as in ``fit``; missing labels are left out.
            sample_weight: (n,).
        """
        return labelled_r2(y, self.predict(X), sample_weight=sample_weight)

    def _risk(self, data: TaskData) -> SquaredRisk:
        return SquaredRisk(data)

    def _solve_unpenalised(self, data: TaskData) -> Solution:
        warnings.warn(
            f"{type(self).__name__} without any penalty is least squares for each task by itself; the solution with "
            "the smallest coefficients is returned. sklearn.linear_model.LinearRegression does this",
            UserWarning,
            stacklevel=3,
        )
        return minimum_norm(data)


class TaskClassifier(ClassifierMixin):  # type: ignore[misc]
    """What makes a classifier of two classes of a :class:`TaskLinearModel`: the logistic loss."""

    _predictor: Any
    fit_intercept: Any
    single_class: str

    def decision_function(self, X: Any) -> Array:
        """Log odds of the second class.

        Args:
            X: as in ``fit``.

        Returns:
            (n,), or (n, T) if y had two axes in ``fit``.
        """
        found: Array = self._predictor(X)
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The likelier class.

        Args:
            X: as in ``fit``.

        Returns:
            (n,), or (n, T) if y had two axes in ``fit``.
        """
        is_second = self.decision_function(X) > 0
        found: NDArray[Any] = self.classes_[is_second.astype(int)]
        return found

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes.

        Args:
            X: as in ``fit``.

        Returns:
            (n, 2), or the probabilities of the second class, (n, T), if y had two axes in ``fit``.
        """
        second: Array = expit(self.decision_function(X))
        return np.column_stack([1 - second, second]) if second.ndim == 1 else second

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose label is right; with one column of y per task, of rows that are right in all tasks.

        Args:
            X: as in ``fit``.
            y: as in ``fit``, without missing labels.
            sample_weight: (n,).
        """
        return labelled_accuracy(y, self.predict(X), sample_weight=sample_weight)

    def _admit(self, rows: TaskRows) -> TaskRows:
        if self.single_class not in ("error", "constant"):
            raise DataError(f'single_class={self.single_class!r}; expected "error" or "constant"')
        assert rows.classes is not None
        # without intercepts one class has a best value, and is left out only where that is asked for
        is_looked_at = bool(self.fit_intercept) or self.single_class == "constant"
        is_single = rows.of_one_class & is_looked_at
        if len(rows.classes) < 2 or (is_looked_at and (is_single | ~rows.observed).all()):
            raise TaskError(
                f"y has one class only in every task (found {rows.classes.tolist()}); expected a task with two classes"
            )
        self.classes_ = rows.classes
        self._constants = np.zeros(rows.n_tasks)
        if not is_single.any():
            return rows
        if self.single_class == "error":
            raise TaskError(
                f"task {rows.names(is_single)} has a single class, so its intercept has no finite best value; "
                'leave the task out, use fit_intercept=False, or construct the estimator with single_class="constant"'
            )
        self._constants[is_single] = [rows.targets[task][0] * np.inf for task in np.flatnonzero(is_single)]
        return _without(rows, is_single)

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.intercept_ = np.where(self._constants == 0, solution.intercepts, self._constants)

    def _risk(self, data: TaskData) -> LogisticRisk:
        return LogisticRisk(data)

    def _solve_unpenalised(self, data: TaskData) -> Solution:
        raise DataError(
            f"{type(self).__name__} without any penalty may have no solution (classes that a plane separates); use a "
            "positive penalty"
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags


def _weights(rows: TaskRows, factors: Array) -> tuple[Array, ...]:
    """``c_t s_ti``; one object where all tasks have the same."""
    first = rows.sample_weights[0]
    if rows.is_shared and all(one is first for one in rows.sample_weights) and (factors == factors[0]).all():
        return (factors[0] * first,) * len(factors)
    weights = [factor * one for factor, one in zip(factors, rows.sample_weights, strict=True)]
    if rows.is_shared and all(np.array_equal(one, weights[0]) for one in weights):
        weights = [weights[0]] * len(weights)
    return tuple(weights)


def _without(rows: TaskRows, left_out: NDArray[np.bool_]) -> TaskRows:
    """The same tasks, some of them without samples."""

    def emptied(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(one[:0] if out else one for one, out in zip(values, left_out, strict=True))

    return replace(
        rows,
        designs=tuple(
            one.tocsr()[:0].tocsc() if issparse(one) and out else (one[:0] if out else one)
            for one, out in zip(rows.designs, left_out, strict=True)
        ),
        targets=emptied(rows.targets),
        sample_weights=emptied(rows.sample_weights),
        rows=emptied(rows.rows),
        is_shared=False,
    )


def _by_task(found: PredictRows, coef: Array, intercept: Array) -> Array:
    """Predictor of each row for its own task."""
    assert found.positions is not None
    order = np.argsort(found.positions, kind="stable")
    tasks, starts = np.unique(found.positions[order], return_index=True)
    by_row = found.design.tocsr() if issparse(found.design) else found.design
    eta = np.empty(len(order))
    for task, rows in zip(tasks, np.split(order, starts[1:]), strict=True):
        eta[rows] = by_row[rows] @ coef[task] + intercept[task]
    return eta
