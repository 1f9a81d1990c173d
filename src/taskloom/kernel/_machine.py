"""What the support vector machines for several tasks have in common."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError
from taskloom.kernel._base_kernel import BaseKernel, scaled_gamma
from taskloom.kernel._dual_problems import Array, DualProblem, solved
from taskloom.kernel._stacked import Stacked, mixing_of, stack_rows
from taskloom.kernel._task_kernel import task_kernel_matrix
from taskloom.kernel.gram import multitask_gram
from taskloom.task_column import TaskRows, check_number, fit_rows, predict_rows

__all__ = ["Array", "MultiTaskMachine"]


class MultiTaskMachine(BaseEstimator):  # type: ignore[misc]
    """A machine of libsvm on a Gram matrix over rows with tasks; subclasses say which one in :meth:`_train`."""

    C: float
    kernel: Any
    task_kernel: Any
    mu: float
    graph: Any
    gamma: Any
    degree: float
    coef0: float
    offset: float
    tol: float
    task_feature: Any
    unknown_task: str

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_feature is None
        tags.input_tags.sparse = True
        return tags

    def _dual_problem(self, gram: Array, samples: Stacked) -> DualProblem:
        """What the machine minimises."""
        raise NotImplementedError

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> TaskRows:
        check_number("C", self.C, is_open=True)
        check_number("tol", self.tol, is_open=True)
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        rows = fit_rows(self, X, y=y, sample_weight=sample_weight, accept_sparse=True)
        samples = stack_rows(rows)
        self.tasks_, self.n_tasks_, self._output_ndim = rows.tasks, rows.n_tasks, rows.output_ndim
        between = task_kernel_matrix(self, n_tasks=rows.n_tasks)
        assert between is not None
        self.task_covariance_ = between
        gamma = scaled_gamma(self.gamma, samples.inputs, samples.weights)
        self._kernel = BaseKernel(self.kernel, gamma, self.degree, self.coef0, self.offset)
        gram = multitask_gram(self._kernel(samples.inputs, samples.inputs), between, s=samples.tasks)
        solution = solved(self._dual_problem(gram, samples), self.tol)
        self.intercept_, self.objective_, self.dual_gap_ = solution.intercept, solution.value, solution.gap
        self._warn_of_gap()
        dual = solution.dual
        support = np.flatnonzero(dual)
        self.support_, self.n_support_ = np.sort(np.unique(samples.rows[support])), len(support)
        self.dual_coef_, self._inputs, self._positions = dual[support], samples.inputs[support], samples.tasks[support]
        return rows

    def _warn_of_gap(self) -> None:
        if self.dual_gap_ > self.tol * abs(self.objective_):
            warnings.warn(
                f"libsvm came to a duality gap of {self.dual_gap_:.3g} (objective {self.objective_:.6g}), above tol="
                f"{self.tol:g} times the objective; scale X, lower C, or accept the gap by raising tol",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _decide(self, X: Any) -> Array:
        """Decision values, (m,) or (m, T)."""
        check_is_fitted(self)
        rows = predict_rows(self, X, unknown_task=self.unknown_task, accept_sparse=True)
        cross = self._kernel(rows.design, self._inputs)
        by_task = self.task_covariance_[:, self._positions] * self.dual_coef_  # (T, S)
        if rows.positions is None:
            table = cross @ by_task.T + self.intercept_
            return table if self._output_ndim == 2 else table[:, 0]
        mixed = mixing_of(rows.positions, self.n_tasks_) @ by_task
        values: Array = (cross * mixed).sum(axis=1) + self.intercept_
        return values
