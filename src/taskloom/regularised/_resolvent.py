"""``(H_t + rho I)^-1`` for all tasks, from one eigendecomposition per Gram matrix."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from taskloom.regularised._least_squares import LeastSquares, LeastSquaresOfData
from taskloom.regularised.data import Array

__all__ = ["Resolvent"]


class Resolvent:
    """Eigenvectors V_t, shape (d, k), and eigenvalues e_t of every Gram matrix.

    With fewer samples than features they come from the products of samples, ``scale Z Z' = U diag(e) U'``: with
    ``W = sqrt(scale) Z' U``, whose columns have the squared lengths e, the inverse takes q to
    ``(q - W ((W' q) / (e + rho))) / rho``, in which nothing is divided by a small e. Otherwise the inverse is kept for
    the last rho.
    """

    def __init__(self, problem: LeastSquares) -> None:
        """One decomposition per Gram matrix: O(min(n_t, d)^2 d)."""
        self.is_thin = False
        if isinstance(problem, LeastSquaresOfData) and problem.is_dense:
            self.is_thin = max(piece.design.n_samples for piece in problem.pieces) < problem.n_features
        if self.is_thin:
            assert isinstance(problem, LeastSquaresOfData)
            self.values, self.vectors = _of_samples(problem)
        else:
            H = problem.grams(np.arange(problem.n_features))
            values, self.vectors = np.linalg.eigh(H)
            self.values = np.maximum(values, 0.0)  # (1 or T, k); vectors (1 or T, d, k)
        self._rho = np.nan
        self._inverse: Array = np.zeros((0, 0, 0))

    @property
    def largest(self) -> Array:
        """Largest eigenvalue of every Gram matrix, shape (1 or T,)."""
        largest: Array = self.values.max(axis=1, initial=0.0)
        return largest

    def solve(self, Q: Array, rho: float) -> Array:
        """``(H_t + rho I)^-1 q_t``.

        Args:
            Q: shape (T, d).
            rho: positive.

        Returns:
            shape (T, d).
        """
        if self.is_thin:
            inner = self._times(Q, self.vectors) / (self.values + rho)
            return (Q - self._times(inner, np.swapaxes(self.vectors, 1, 2))) / rho
        if rho != self._rho:
            scaled = self.vectors / (self.values + rho)[:, None, :]
            self._inverse, self._rho = np.matmul(scaled, np.swapaxes(self.vectors, 1, 2)), rho
        return self._times(Q, self._inverse)

    def solve_each(self, Q: Array, rho: Array) -> Array:
        """``(H + rho_t I)^-1 q_t`` with the one Gram matrix of all tasks.

        Args:
            Q: shape (T, d).
            rho: positive, shape (T,).

        Returns:
            shape (T, d).
        """
        inner = (Q @ self.vectors[0]) / (self.values[0] + rho[:, None])
        within: Array = inner @ self.vectors[0].T
        return (Q - within) / rho[:, None] if self.is_thin else within

    @staticmethod
    def _times(Q: Array, matrices: Array) -> Array:
        if len(matrices) == 1:
            product: Array = Q @ matrices[0]
            return product
        each: Array = np.matmul(Q[:, None, :], matrices)[:, 0, :]
        return each


def _of_samples(problem: LeastSquaresOfData) -> tuple[Array, Array]:
    """Eigenvalues e and the vectors W of the class, filled up with zeros to one number of samples."""
    most = max(piece.design.n_samples for piece in problem.pieces)
    values = np.zeros((problem.n_grams, most))
    vectors = np.zeros((problem.n_grams, problem.n_features, most))
    rows = np.arange(problem.n_features)
    for place, piece in enumerate(problem.pieces):
        Z = np.sqrt(piece.scale) * piece.design.columns(rows)  # (d, n)
        found, basis = scipy.linalg.eigh(Z.T @ Z, check_finite=False)
        values[place, : len(found)] = np.maximum(found, 0.0)
        np.matmul(Z, basis, out=vectors[place, :, : len(found)])
    return values, vectors
