"""One data set as the linear system of kernel ridge regression: a grid, or a list of distinct points.

Where all tasks share their rows and every label is known, rows times tasks are a grid. Otherwise labels of one task at
equal rows are put together (the squares around their mean are a constant), so that repeated rows cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
        """By how much labels are missed when the row of X they stand in is left out, (len(alphas), N).

        A label of weight above 1 counts as several, of which one is left out. NaN where a row has the only label of a
        task: without it the intercept of the task is not determined.
        """
        samples = self.samples
        shares = np.minimum(1.0, samples.weights) / self.point_weights[self.place]
        alone = np.zeros(len(shares), dtype=bool)
        if self.fit_intercept:
            alone = (shares == 1) & (np.bincount(self.point_tasks)[samples.tasks] == 1)
        if isinstance(self.system, GridSystem):
            n_rows = len(self.system.row_weights)
            found = self.system.left_out(alphas, shares=shares[:n_rows]).transpose(0, 2, 1).reshape(len(alphas), -1)
            return np.where(alone, np.nan, found)
        groups = _rows_of(samples.rows)  # (rows, labels of each) samples
        missed = self.system.left_out(
            alphas,
            groups=np.where(groups < 0, -1, self.place[groups]),
            around=self._around[groups],
            shares=shares[groups],
            alone=alone[groups],
        )
        found = np.empty((len(alphas), len(shares)))
        found[:, groups[groups >= 0]] = missed[:, groups >= 0]
        return found

    def trace(self) -> float:
        """Sum of the eigenvalues of the whitened kernel."""
        if isinstance(self.system, GridSystem):
            rows = float(self.system.row_weights @ np.diag(self.system.kernel))
            return rows * float(self.system.task_weights @ np.diag(self.task_covariance))
        return float(self.system.weights @ np.diag(self.system.gram))


def _same_weights(rows: TaskRows) -> bool:
    return all(np.array_equal(weights, rows.sample_weights[0]) for weights in rows.sample_weights)


def _rows_of(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Samples of every row, (number of rows, most labels of one), filled up by -1."""
    order = np.argsort(rows, kind="stable")
    _, starts, counts = np.unique(rows[order], return_index=True, return_counts=True)
    table = np.full((len(counts), int(counts.max())), -1)
    place = np.repeat(np.arange(len(counts)), counts)
    table[place, np.arange(len(rows)) - starts[place]] = order
    return table
