r"""The linear systems of kernel ridge regression, where tasks share their rows and where they do not.

With w the weight of each sample (c_t s_ti), ``W = diag(w)``, K the kernel over rows with tasks and E the (N, T) table
that says which intercept belongs to which sample, the minimiser of

    sum_i w_i (y_i - f(x_i) - b_{t_i})^2 / 2 + (alpha / 2) ||f||^2

has the dual coefficients ``beta`` with

    (K + alpha W^-1) beta + E b = y,     E' beta = 0

Both classes work with the whitened kernel ``K~ = W^1/2 K W^1/2``, for which ``(K~ + alpha I) beta~ + E~ b = y~``. With
P the upper left block of the inverse of the bordered matrix, ``beta~ = P y~``, the residual is
``r_i = alpha beta_i / w_i`` and the leverage ``H_i = 1 - alpha P_ii``: all that leaving out samples needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh

__all__ = ["Array", "DenseSystem", "GridSystem"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DenseSystem:
    """Samples anywhere: O(N^3).

    Args:
        gram: K, (N, N).
        targets: y, (N,).
        weights: w, (N,) positive.
        tasks: (N,) position of the intercept of each sample; None for no intercepts.
        n_tasks: T.
    """

    gram: Array
    targets: Array
    weights: Array
    tasks: NDArray[np.intp] | None
    n_tasks: int

    @cached_property
    def _root(self) -> Array:
        return np.sqrt(self.weights)

    @cached_property
    def _borders(self) -> Array:
        """E~ without the columns of tasks that have no sample, (N, T')."""
        if self.tasks is None:
            return np.zeros((len(self.targets), 0))
        _, present = np.unique(self.tasks, return_inverse=True)
        table = np.zeros((len(self.targets), int(present.max()) + 1))
        table[np.arange(len(present)), present] = self._root
        return table

    def solve(self, alpha: float) -> tuple[Array, Array]:
        """Dual coefficients beta (N,) and intercepts b (T,)."""
        matrix = self._root[:, None] * self.gram * self._root
        matrix.flat[:: len(matrix) + 1] += alpha
        factor = cho_factor(matrix, lower=True, overwrite_a=True)
        borders = self._borders
        target = cho_solve(factor, self._root * self.targets)
        if not borders.shape[1]:
            return self._root * target, np.zeros(self.n_tasks)
        solved = cho_solve(factor, borders)
        offsets = np.linalg.solve(borders.T @ solved, borders.T @ target)
        intercepts = np.zeros(self.n_tasks)
        assert self.tasks is not None
        intercepts[np.unique(self.tasks)] = offsets
        return self._root * (target - solved @ offsets), intercepts

    def residuals(self, alphas: Sequence[float]) -> tuple[Array, Array]:
        """Residuals and ``alpha P_ii``, each (len(alphas), N), by one eigendecomposition."""
        values, vectors = eigh(self._root[:, None] * self.gram * self._root)
        rotated, borders = vectors.T @ (self._root * self.targets), vectors.T @ self._borders
        found = []
        for alpha in alphas:
            shrink = 1 / (np.maximum(values, 0.0) + alpha)
            dual, diagonal = vectors @ (shrink * rotated), vectors**2 @ shrink
            if borders.shape[1]:
                solved = shrink[:, None] * borders
                inverse = np.linalg.inv(borders.T @ solved)
                spread = vectors @ solved
                dual = dual - spread @ (inverse @ (solved.T @ rotated))
                diagonal = diagonal - ((spread @ inverse) * spread).sum(axis=1)
            found.append((alpha * dual / self._root, alpha * diagonal))
        misses, complements = zip(*found, strict=True)
        return np.array(misses), np.array(complements)


@dataclass(frozen=True)
class GridSystem:
    """All tasks labelled at the same rows, weights ``c_t s_i``: the eigenbases of two small matrices, O(n^3 + T^3).

    The nT x nT matrix is never formed.

    Args:
        kernel: k over the rows, (n, n).
        task_covariance: B, (T, T).
        targets: Y, (n, T).
        row_weights: s, (n,) positive.
        task_weights: c, (T,) positive.
        fit_intercept: whether each task has an intercept.
    """

    kernel: Array
    task_covariance: Array
    targets: Array
    row_weights: Array
    task_weights: Array
    fit_intercept: bool

    @cached_property
    def _rows(self) -> tuple[Array, Array]:
        root = np.sqrt(self.row_weights)
        values, vectors = eigh(root[:, None] * self.kernel * root)
        return np.maximum(values, 0.0), vectors

    @cached_property
    def _tasks(self) -> tuple[Array, Array]:
        root = np.sqrt(self.task_weights)
        values, vectors = eigh(root[:, None] * self.task_covariance * root)
        return np.maximum(values, 0.0), vectors

    @cached_property
    def _rotated(self) -> tuple[Array, Array]:
        """V' S^1/2 Y C^1/2 U, (n, T), and V' s^1/2, (n,)."""
        rows, tasks = np.sqrt(self.row_weights), np.sqrt(self.task_weights)
        targets = self._rows[1].T @ (rows[:, None] * self.targets * tasks) @ self._tasks[1]
        return targets, self._rows[1].T @ rows

    def _shrink(self, alpha: float) -> Array:
        return 1 / (np.multiply.outer(self._rows[0], self._tasks[0]) + alpha)  # (n, T)

    def solve(self, alpha: float) -> tuple[Array, Array]:
        """Dual coefficients beta (n, T) and intercepts b (T,)."""
        rows, tasks = np.sqrt(self.row_weights), np.sqrt(self.task_weights)
        targets, border = self._rotated
        shrink = self._shrink(alpha)
        offsets = (border @ (shrink * targets)) / (border**2 @ shrink) if self.fit_intercept else np.zeros(len(tasks))
        dual = shrink * (targets - np.multiply.outer(border, offsets))
        beta = rows[:, None] * (self._rows[1] @ dual @ self._tasks[1].T) * tasks
        return beta, (self._tasks[1] @ offsets) / tasks

    def residuals(self, alphas: Sequence[float]) -> tuple[Array, Array]:
        """Residuals and ``alpha P_ii``, each (len(alphas), n, T)."""
        weights = np.multiply.outer(self.row_weights, self.task_weights)
        V, U = self._rows[1], self._tasks[1]
        border = self._rotated[1]
        found = []
        for alpha in alphas:
            shrink = self._shrink(alpha)
            diagonal = V**2 @ shrink @ (U**2).T
            if self.fit_intercept:
                spread = V @ (border[:, None] * shrink)
                diagonal = diagonal - (spread**2 / (border**2 @ shrink)) @ (U**2).T
            found.append((alpha * self.solve(alpha)[0] / weights, alpha * diagonal))
        misses, complements = zip(*found, strict=True)
        return np.array(misses), np.array(complements)
