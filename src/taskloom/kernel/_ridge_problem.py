"""One data set as the linear system of kernel ridge regression: a grid, or a list of distinct points.

Where all tasks share their rows and every label is known, rows times tasks are a grid. Otherwise labels of one task at
equal rows are put together (the squares around their mean are a constant), so that repeated rows cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from taskloom.kernel._base_kernel import BaseKernel
from taskloom.kernel._ridge_systems import Array, DenseSystem, GridSystem
from taskloom.kernel._stacked import Stacked, stack_rows
from taskloom.kernel.gram import multitask_gram
from taskloom.task_column import TaskRows, merge_replicates

__all__ = ["Problem"]


class Problem:
    """The system of a data set, and the way between its points and the samples of the data.

    Args:
        rows: the data by task.
        kernel: over the columns beside the task column.
        task_covariance: B, (T, T).
        factors: c_t, (T,).
        fit_intercept: whether each task has an intercept.
    """

    def __init__(
        self, rows: TaskRows, kernel: BaseKernel, *, task_covariance: Array, factors: Array, fit_intercept: bool
    ) -> None:
        self.samples: Stacked = stack_rows(rows)
        self.fit_intercept = fit_intercept
        self.weights = factors[self.samples.tasks] * self.samples.weights  # (N,)
        self.task_covariance = task_covariance
        self.is_grid = rows.is_shared and rows.n_tasks > 2 and _same_weights(rows)
        self.system: GridSystem | DenseSystem
        if self.is_grid:
            self.system = self._as_grid(rows, kernel, factors)
        else:
            self.system = self._as_list(rows, kernel, factors)

    def _as_grid(self, rows: TaskRows, kernel: BaseKernel, factors: Array) -> GridSystem:
        self.inputs: Any = rows.designs[0]
        self.point_tasks, self.point_weights = self.samples.tasks, self.samples.weights
        self.place = np.arange(len(self.samples.targets))
        self.point_targets = self.samples.targets
        return GridSystem(
            kernel=kernel(self.inputs, self.inputs),
            task_covariance=self.task_covariance,
            targets=np.column_stack(rows.targets),
            row_weights=rows.sample_weights[0],
            task_weights=factors,
            fit_intercept=self.fit_intercept,
        )

    def _as_list(self, rows: TaskRows, kernel: BaseKernel, factors: Array) -> DenseSystem:
        self._set_points(rows)
        return DenseSystem(
            gram=multitask_gram(kernel(self.inputs, self.inputs), self.task_covariance, s=self.point_tasks),
            targets=self.point_targets,
            weights=factors[self.point_tasks] * self.point_weights,
            tasks=self.point_tasks if self.fit_intercept else None,
            n_tasks=rows.n_tasks,
        )

    def _set_points(self, rows: TaskRows) -> None:
        samples = self.samples
        if issparse(samples.inputs):
            self.inputs, self.point_tasks, self.place = samples.inputs, samples.tasks, np.arange(len(samples.targets))
            self.point_targets, self.point_weights = samples.targets, samples.weights
            return
        merged = [merge_replicates(X, y, weights=s) for X, y, s in zip(rows.designs, rows.targets, rows.sample_weights)]
        sizes = np.array([len(one.rows) for one in merged])
        starts = np.cumsum(sizes) - sizes
        self.inputs = np.concatenate([one.rows for one in merged])
        self.point_tasks = np.repeat(np.arange(len(sizes)), sizes)
        self.place = np.concatenate([start + one.place for start, one in zip(starts, merged, strict=True)])
        self.point_targets = np.concatenate([one.targets for one in merged])
        self.point_weights = np.concatenate([one.weights for one in merged])

    @property
    def _around(self) -> Array:
        """Labels minus the mean at their point, (N,)."""
        return self.samples.targets - self.point_targets[self.place]

    def solve(self, alpha: float) -> tuple[Array, Array]:
        """Dual coefficients of the points and intercepts (T,)."""
        dual, intercepts = self.system.solve(alpha)
        return (dual.T.ravel() if self.is_grid else dual), intercepts

    def of_samples(self, dual: Array, alpha: float) -> Array:
        """Dual coefficients of the samples, (N,), from those of the points."""
        shares = self.samples.weights / self.point_weights[self.place]
        return shares * dual[self.place] + self.weights * self._around / alpha

    def functions(self, dual: Array) -> Array:
        """Values of f at the points, without intercepts."""
        if isinstance(self.system, GridSystem):
            table = dual.reshape(len(self.system.task_weights), -1).T
            return (self.system.kernel @ table @ self.task_covariance).T.ravel()
        return self.system.gram @ dual

    def coefficients(self, dual: Array) -> Array:
        """Weights of the kernel at each of ``inputs`` in the function of each task, (len(inputs), T)."""
        if self.is_grid:
            return dual.reshape(len(self.task_covariance), -1).T @ self.task_covariance
        coefficients: Array = dual[:, None] * self.task_covariance[self.point_tasks]
        return coefficients

    def left_out(self, alphas: Sequence[float]) -> Array:
        """Residuals of labels that are left out, (len(alphas), N).

        A point of weight s that misses its mean by r, with leverage H, misses a label beside it by r'. Without the
        share q of the weight, which is that label, the miss would be ``r' / (1 - q H)``. A label of weight above 1
        counts as several, of which one is left out.
        """
        misses, complements = self.system.residuals(alphas)
        if self.is_grid:
            misses, complements = (table.transpose(0, 2, 1).reshape(len(table), -1) for table in (misses, complements))
        shares = np.minimum(1.0, self.samples.weights) / self.point_weights[self.place]
        remaining = np.where(shares == 1, 0.0, 1.0 - shares) + shares * complements[:, self.place]
        alone = np.zeros(len(shares), dtype=bool)
        if self.fit_intercept:
            alone = (shares == 1) & (np.bincount(self.point_tasks)[self.samples.tasks] == 1)
        remaining[:, alone] = np.nan  # without it the intercept of its task is not determined
        return (misses[:, self.place] + self._around) / remaining

    def trace(self) -> float:
        """Sum of the eigenvalues of the whitened kernel."""
        if isinstance(self.system, GridSystem):
            rows = float(self.system.row_weights @ np.diag(self.system.kernel))
            return rows * float(self.system.task_weights @ np.diag(self.task_covariance))
        return float(self.system.weights @ np.diag(self.system.gram))


def _same_weights(rows: TaskRows) -> bool:
    return all(np.array_equal(weights, rows.sample_weights[0]) for weights in rows.sample_weights)
