"""One Gram matrix for all tasks: its eigenbasis and that of Q take the system apart into numbers."""

from __future__ import annotations

import numpy as np

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["SharedBasis"]


class SharedBasis:
    """``H a_t + (A Q)_t = r_t`` by the eigenvectors of H, of the smaller side of X where it has more columns than rows.

    Args:
        rows: least squares with one Gram matrix.
        coupling: Q.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.eye(2), np.array([1.0, 2.0]), np.ones(2)
        >>> rows = Centred(TaskData((X, X), (y, y), (w, w)), "none")
        >>> SharedBasis(rows, TaskCoupling.to_mean(2, alpha=1.0, coupling=1.0)).solve(rows.right_hand_sides)
        array([[0.5, 0.5],
               [1. , 1. ]])
    """

    def __init__(self, rows: Centred, coupling: TaskCoupling) -> None:
        self.rows = rows
        self.coupling = coupling
        self.vectors, self.values = rows.eigenbasis

    def solve(self, R: Array) -> Array:
        """A for the right-hand sides R, both of shape (d, T)."""
        along, beside = self.coupling.split(R)
        of_vectors = self._divide(along, self.coupling.values)
        return self._divide(beside, np.array([self.coupling.base])) + of_vectors @ self.coupling.vectors.T

    def _divide(self, R: Array, q: Array) -> Array:
        """``(H + q_k I)^-1`` applied to column k."""
        inside = self.vectors.T @ R
        found: Array = self.vectors @ (inside / (self.values[:, None] + q))
        if self.vectors.shape[1] < len(self.vectors):
            found += (R - self.vectors @ inside) / q
        return found

    def leverages(self) -> tuple[Array, ...]:
        """Weight of each sample in its own fitted value, without the part of the intercept."""
        shares = self.coupling.vectors**2
        return tuple((self.leverages_along() @ np.column_stack([shares, 1 - shares.sum(axis=1)]).T).T)

    def leverages_along(self) -> Array:
        """The same for the directions of the coupling, its k vectors and all that is beside them, shape (n, k + 1).

        Along each of them the fit is one of its own: the weights of the targets of a row in its fitted values of all
        tasks are ``V diag(h) V' + h_beside (I - V V')``.
        """
        scaled = self.rows.scaled_rows(0)
        squares = (scaled @ self.vectors) ** 2  # (n, m)
        outside = (scaled**2).sum(axis=1) - squares.sum(axis=1) if self.vectors.shape[1] < len(self.vectors) else 0.0
        q = np.append(self.coupling.values, self.coupling.base)
        found: Array = squares @ (1 / (self.values[:, None] + q)) + np.outer(outside * np.ones(len(scaled)), 1 / q)
        return found
