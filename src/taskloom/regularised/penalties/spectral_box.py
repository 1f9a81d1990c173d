"""Quadratic penalties with an unknown task covariance: the convex relaxation of clustered tasks.

    Omega(A) = (mean_strength T / 2) ||abar||^2 + min { sum_i s_i^2 / (2 theta_i) : low <= theta_i <= high,
               sum_i theta_i = total }

with s the T singular values (zeros included) of A without its mean column abar; without ``mean_strength`` of A itself.
The conjugate sums the squared singular values z of G in the same way, with ``k = (total - T low) / (high - low)``:

    Omega*(G) = T ||gbar||^2 / (2 mean_strength) + (low sum_i z_i + (high - low) sum of the k largest z) / 2

Source:
    Jacob, Bach, Vert, "Clustered multi-task learning: a convex formulation", NIPS 2008; without the mean: Zhou, Chen,
    Ye, "Clustered multi-task learning via alternating structure optimization", NIPS 2011, and Chen, Tang, Liu, Ye, "A
    convex formulation for learning shared structures from multiple tasks", ICML 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.solvers.prox.singular_values import on_singular_values, singular_values
from taskloom.solvers.prox.spectral_box import shrink_in_box, weights_in_box

__all__ = ["SpectralBox"]


@dataclass(frozen=True)
class SpectralBox(Penalty):
    """The smallest quadratic penalty over task covariances with bounded eigenvalues and a given trace.

    Args:
        low: smallest eigenvalue, positive.
        high: largest eigenvalue, at least ``low``.
        total: trace, between ``T low`` and ``T high``.
        mean_strength: strength of the penalty on the mean of the tasks, positive; None treats the mean like the rest.

    Example:
        >>> SpectralBox(1.0, 1.0, 2.0).value(np.eye(2))
        1.0
    """

    low: float
    high: float
    total: float
    mean_strength: float | None = None

    def split(self, A: Array) -> tuple[Array, Array]:
        """The mean column, shape (d, 1), and what is left of A; a mean of 0 where it is treated like the rest.

        Args:
            A: shape (d, T).
        """
        mean = np.zeros((len(A), 1)) if self.mean_strength is None else A.mean(axis=1, keepdims=True)
        return mean, A - mean

    def weights(self, s: Array, n_tasks: int, *, tau: float = 0.0) -> Array:
        """The eigenvalues theta that belong to singular values.

        Args:
            s: singular values, shape (at most T,).
            n_tasks: T.
            tau: step of the proximal operator.

        Returns:
            shape (T,).
        """
        return weights_in_box(self._all(s, n_tasks), tau, low=self.low, high=self.high, total=self.total)

    def precision(self, A: Array) -> Array:
        """The Q whose quadratic penalty ``tr(A Q A') / 2`` is the smallest at A, and so the penalty itself.

        Args:
            A: shape (d, T).

        Returns:
            symmetric, positive definite but for the mean where it has no strength, shape (T, T).
        """
        n_tasks = A.shape[1]
        rest = self.split(A)[1]
        _, s, transposed = np.linalg.svd(np.linalg.qr(rest, mode="r"), full_matrices=True)
        chosen: Array = (transposed.T / self.weights(s, n_tasks)) @ transposed
        if self.mean_strength is None:
            return chosen
        mean = np.full((n_tasks, n_tasks), 1 / n_tasks)
        centring = np.eye(n_tasks) - mean
        precision: Array = centring @ chosen @ centring + self.mean_strength * mean
        return precision

    def value(self, A: Array) -> float:
        mean, rest = self.split(A)
        s = self._all(singular_values(rest), A.shape[1])
        theta = weights_in_box(s, 0.0, low=self.low, high=self.high, total=self.total)
        of_mean = (self.mean_strength or 0.0) * A.shape[1] * float((mean**2).sum())
        return float((s**2 / theta).sum() + of_mean) / 2

    def prox(self, V: Array, step: float) -> Array:
        mean, rest = self.split(V)
        n_tasks = V.shape[1]

        def shrunk(s: Array) -> Array:
            found = shrink_in_box(self._all(s, n_tasks), step, low=self.low, high=self.high, total=self.total)
            return found[: len(s)]

        return on_singular_values(rest, shrunk) + mean / (1 + step * (self.mean_strength or 0.0))

    def gauge(self, G: Array) -> float:
        return 0.0

    def conjugate(self, G: Array) -> float:
        mean, rest = self.split(G)
        n_tasks = G.shape[1]
        z = self._all(singular_values(rest) ** 2, n_tasks)
        k = (self.total - n_tasks * self.low) / (self.high - self.low) if self.high > self.low else 0.0
        shares = np.clip(k - np.arange(n_tasks), 0.0, 1.0)
        flat = float((z * (self.low + (self.high - self.low) * shares)).sum()) / 2
        if self.mean_strength is None:
            return flat
        of_mean = n_tasks * float((mean**2).sum()) / self.mean_strength
        return float(flat + of_mean / 2)

    def threshold(self, G: Array) -> float:
        return np.inf if G.any() else 0.0

    @staticmethod
    def _all(s: Array, n_tasks: int) -> Array:
        """All T values, those beyond the rank 0."""
        return np.concatenate([s[:n_tasks], np.zeros(max(n_tasks - len(s), 0))])
