"""Fewer samples than coefficients: one equation per sample.

With z_i the centred row of sample i times the root of its weight, t its task and ``B = Q^-1``, the matrix is
``I + K`` with ``K_ij = B[t_i, t_j] z_i . z_j``.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["Dual"]


class Dual:
    """``H_t a_t + (A Q)_t = r_t`` by one system of N equations.

    Args:
        rows: least squares of the tasks.
        coupling: Q.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.eye(2), np.array([1.0, 2.0]), np.ones(2)
        >>> rows = Centred(TaskData((X, 2 * X), (y, y), (w, w)), "none")
        >>> Dual(rows, TaskCoupling.to_mean(2, alpha=1.0, coupling=1.0)).solve(rows.right_hand_sides)
        array([[0.5, 0.4],
               [1. , 0.8]])
    """

    def __init__(self, rows: Centred, coupling: TaskCoupling) -> None:
        self.rows = rows
        self.coupling = coupling
        n_tasks = rows.data.n_tasks
        counts = np.array([len(target) for target in rows.data.targets])
        self.ends = np.cumsum(counts)[:-1]
        tasks = np.repeat(np.arange(n_tasks), counts)
        matrix = rows.inner_products()
        matrix *= coupling.kernel[np.ix_(tasks, tasks)]
        matrix[np.diag_indices_from(matrix)] += 1
        self.factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, R: Array) -> Array:
        """A for the right-hand sides R, both of shape (d, T)."""
        free = self.coupling.inverse_times(R)
        dual = cho_solve(self.factor, np.concatenate(self.rows.products(free)), check_finite=False)
        by_task = zip(self.rows.data.weights, np.split(dual, self.ends), strict=True)
        pulled = self.rows.gradient(tuple(np.sqrt(weights) * one for weights, one in by_task))
        return free - self.coupling.inverse_times(pulled)

    def leverages(self) -> tuple[Array, ...]:
        """Weight of each sample in its own fitted value, without the part of the intercept."""
        return tuple(np.split(1 - np.diag(self._inverse), self.ends))

    def blocks(self, groups: NDArray[np.intp]) -> Array:
        """Weights of samples (G, m) in each other's fitted values, (G, m, m)."""
        among: Array = np.eye(groups.shape[1]) - self._inverse[groups[:, :, None], groups[:, None, :]]
        return among

    @cached_property
    def _inverse(self) -> Array:
        inverse: Array = cho_solve(self.factor, np.eye(len(self.factor[0])), check_finite=False)
        return inverse
