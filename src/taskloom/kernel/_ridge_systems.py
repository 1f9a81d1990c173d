r"""The linear systems of kernel ridge regression, where tasks share their rows and where they do not.

With w the weight of each sample (c_t s_ti), ``W = diag(w)``, K the kernel over rows with tasks and E the (N, T) table
that says which intercept belongs to which sample, the minimiser of

    sum_i w_i (y_i - f(x_i) - b_{t_i})^2 / 2 + (alpha / 2) ||f||^2

has the dual coefficients ``beta`` with

    (K + alpha W^-1) beta + E b = y,     E' beta = 0

Both classes work with the whitened kernel ``K~ = W^1/2 K W^1/2``, for which ``(K~ + alpha I) beta~ + E~ b = y~``. With
P the upper left block of the inverse of the bordered matrix, ``beta~ = P y~``, the whitened residuals are
``alpha beta~`` and the leverages ``I - alpha P``. Samples whose labels are missed by r in the fit of all are missed by
e without the shares q of their weights, where

    (I - Q + alpha P_gg Q) e~ = r~,     Q = diag(q)

over the samples g that go together: the fit without these shares is that of all with ``y - Q e`` in place of y.
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

    def left_out(
        self,
        alphas: Sequence[float],
        *,
        groups: NDArray[np.intp],
        around: Array,
        shares: Array,
        alone: NDArray[np.bool_],
    ) -> Array:
        """By how much labels are missed that are left out, a group at a time, (len(alphas), G, m).

        Args:
            alphas: strengths.
            groups: (G, m) samples that hold the labels of each group, -1 where it has fewer than m.
            around: (G, m) labels minus the target of the sample that holds them.
            shares: (G, m) of the weights of the samples that go.
            alone: (G, m) whether nothing of its task is left then, so that it is not missed by any number.
        """
        values, vectors = eigh(self._root[:, None] * self.gram * self._root)
        rotated, borders = vectors.T @ (self._root * self.targets), vectors.T @ self._borders
        distinct, which = np.unique(groups, axis=0, return_inverse=True)
        rows = np.where(distinct[:, :, None] < 0, 0.0, vectors[distinct])  # (groups, m, N)
        roots, is_known, size = self._root[groups], (groups >= 0) & ~alone, groups.shape[1]
        found = np.full((len(alphas), *groups.shape), np.nan)
        for table, alpha in zip(found, alphas, strict=True):
            shrink = 1 / (np.maximum(values, 0.0) + alpha)
            solved = shrink[:, None] * borders
            inverse = np.linalg.inv(borders.T @ solved)
            dual = shrink * rotated - solved @ (inverse @ (solved.T @ rotated))
            spread = rows @ solved
            blocks = (rows * shrink) @ np.swapaxes(rows, 1, 2) - spread @ inverse @ np.swapaxes(spread, 1, 2)
            misses = alpha * (rows @ dual)[which] + roots * around
            left = alpha * blocks[which] * shares[:, None, :] + np.eye(size) * (1 - shares)[:, :, None]
            left = np.where(is_known[:, :, None] & is_known[:, None, :], left, np.eye(size))
            table[is_known] = (np.linalg.solve(left, misses[:, :, None])[:, :, 0] / roots)[is_known]
        return found


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

    def left_out(self, alphas: Sequence[float], *, shares: Array) -> Array:
        """By how much the labels of a row are missed without it, (len(alphas), n, T).

        In the eigenbasis of the tasks each direction is a problem of its own, with leverages of its own.

        Args:
            alphas: strengths.
            shares: (n,) of the weight of each row that go; 1: all of it.
        """
        (V, U), border, roots = (self._rows[1], self._tasks[1]), self._rotated[1], np.sqrt(self.task_weights)
        found = []
        for alpha in alphas:
            shrink = self._shrink(alpha)
            diagonal = V**2 @ shrink
            if self.fit_intercept:
                diagonal = diagonal - (V @ (border[:, None] * shrink)) ** 2 / (border**2 @ shrink)
            misses = alpha * self.solve(alpha)[0] / np.multiply.outer(self.row_weights, roots)
            left = (1 - shares)[:, None] + shares[:, None] * alpha * diagonal
            with np.errstate(divide="ignore", invalid="ignore"):  # nothing is left of a single row with an intercept
                found.append((misses @ U / left) @ U.T / roots)
        return np.array(found)
