"""Too large for a factorisation: conjugate gradients, preconditioned by the mean Gram matrix in the eigenbasis of Q."""

from __future__ import annotations

import numpy as np

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["ConjugateGradient"]

LARGEST_BASIS = 1500  # columns up to which the mean Gram matrix is made and taken apart
RELATIVE_RESIDUAL = 1e-10


class ConjugateGradient:
    """``H_t a_t + (A Q)_t = r_t`` by products with X_t alone, or with H_t where that is cheaper.

    Args:
        rows: least squares of the tasks.
        coupling: Q.
        max_iterations: steps at most.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.eye(2), np.array([1.0, 2.0]), np.ones(2)
        >>> rows = Centred(TaskData((X, 2 * X), (y, y), (w, w)), "none")
        >>> method = ConjugateGradient(rows, TaskCoupling.to_mean(2, alpha=1.0, coupling=1.0))
        >>> method.solve(rows.right_hand_sides).round(9), method.n_iterations
        (array([[0.5, 0.4],
               [1. , 0.8]]), 2)
    """

    def __init__(self, rows: Centred, coupling: TaskCoupling, *, max_iterations: int = 1000) -> None:
        self.rows = rows
        self.coupling = coupling
        self.max_iterations = max_iterations
        self.n_iterations = 0
        data = rows.data
        self.basis: Array | None = None
        if data.n_features <= LARGEST_BASIS:
            levels, self.basis = np.linalg.eigh(rows.mean_gram())
            self.levels = np.maximum(levels, 0)
        else:
            self.levels = rows.gram_diagonal()

    def solve(self, R: Array) -> Array:
        """A for the right-hand sides R, both of shape (d, T)."""
        A, residual = np.zeros(R.shape), R.copy()
        direction = self._precondition(residual)
        size = first = float(np.vdot(residual, direction))
        for _ in range(self.max_iterations):
            if size <= RELATIVE_RESIDUAL**2 * first:
                break
            image = self.rows.gram_times(direction) + self.coupling.times(direction)
            step = size / float(np.vdot(direction, image))
            A += step * direction
            residual -= step * image
            preconditioned = self._precondition(residual)
            last, size = size, float(np.vdot(residual, preconditioned))
            direction = preconditioned + (size / last) * direction
            self.n_iterations += 1
        return A

    def _precondition(self, R: Array) -> Array:
        along, beside = self.coupling.split(R)
        base = np.array([self.coupling.base])
        return self._divide(beside, base) + self._divide(along, self.coupling.values) @ self.coupling.vectors.T

    def _divide(self, R: Array, q: Array) -> Array:
        if self.basis is None:
            quotient: Array = R / (self.levels[:, None] + q)
            return quotient
        divided: Array = self.basis @ ((self.basis.T @ R) / (self.levels[:, None] + q))
        return divided
