r"""Quadratic couplings of tasks: ``tr(A Q A') / 2`` with a symmetric positive definite precision Q of the tasks.

Q is kept as ``base (I - V V') + V diag(values) V'`` with orthonormal columns V. Couplings to a mean or to known
clusters have one vector, or one per cluster, whatever the number of tasks; a general Q has all but one of its
eigenvectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array

__all__ = ["TaskCoupling"]

SAME = 1e-12  # eigenvalues that differ by less than this fraction of the largest are one; those below it are 0


@dataclass(frozen=True)
class TaskCoupling:
    """The penalty ``tr(A Q A') / 2``; a strength in front of it is part of Q.

    Args:
        base: eigenvalue of Q on everything orthogonal to ``vectors``, positive.
        vectors: orthonormal columns V, shape (T, k), k < T.
        values: the eigenvalues of Q that belong to them, shape (k,), positive; or 0, where the data alone have to say
            what the coefficients are.

    Example:
        >>> coupling = TaskCoupling.to_mean(4, alpha=0.5, coupling=3.0)
        >>> coupling.value(np.ones((2, 4))), coupling.precision[0]
        (2.0, array([ 1.25, -0.25, -0.25, -0.25]))
    """

    base: float
    vectors: Array
    values: Array

    @classmethod
    def of_matrix(cls, precision: Array) -> TaskCoupling:
        """The coupling with a given precision.

        Args:
            precision: Q, shape (T, T), symmetric positive semi-definite, not 0.
        """
        values, vectors = np.linalg.eigh(precision)
        values[values <= SAME * values[-1]] = 0.0
        starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > SAME * values[-1])
        counts = np.diff(starts, append=len(values)) * (values[starts] > 0)
        common = slice(starts[counts.argmax()], starts[counts.argmax()] + counts.max())
        return cls(float(values[common].mean()), np.delete(vectors, common, axis=1), np.delete(values, common))

    @classmethod
    def to_mean(cls, n_tasks: int, *, alpha: float, coupling: float) -> TaskCoupling:
        """``alpha / 2 (T ||mean||^2 + coupling sum_t ||a_t - mean||^2)``.

        Args:
            n_tasks: T.
            alpha: strength, positive.
            coupling: how strongly tasks are held to their mean, positive; 1 leaves the tasks alone.
        """
        mean = np.full((n_tasks, 1), 1 / np.sqrt(n_tasks))
        if n_tasks == 1:
            return cls(alpha, np.empty((1, 0)), np.empty(0))
        return cls(alpha * coupling, mean, np.array([alpha]))

    @classmethod
    def to_neighbours(cls, laplacian: Array, *, alpha: float, coupling: float) -> TaskCoupling:
        """``alpha / 2 (||A||^2 + coupling tr(A L A'))``, exact however strong the coupling.

        Args:
            laplacian: L of a graph of the tasks, shape (T, T), positive semi-definite.
            alpha: strength, positive.
            coupling: strength along edges, not negative.
        """
        if coupling == 0 or not laplacian.any():
            return cls.to_mean(len(laplacian), alpha=alpha, coupling=1.0)
        levels = cls.of_matrix(laplacian)
        return cls(alpha * (1 + coupling * levels.base), levels.vectors, alpha * (1 + coupling * levels.values))

    @classmethod
    def to_clusters(cls, labels: NDArray[np.intp], *, mean: float, between: float, within: float) -> TaskCoupling:
        """``(mean T ||abar||^2 + between sum_c T_c ||abar_c - abar||^2 + within sum_t ||a_t - abar_c(t)||^2) / 2``.

        Args:
            labels: number of the cluster of every task, 0, ..., r - 1, shape (T,).
            mean: strength on the mean of all tasks, positive.
            between: on the distance of the means of clusters from it, positive.
            within: on the distance of tasks from the mean of their cluster, positive.
        """
        sizes = np.bincount(labels)
        if len(sizes) == len(labels):  # every task is a cluster of its own: none is left to be held within one
            return cls.to_mean(len(labels), alpha=mean, coupling=between / mean)
        clusters = np.eye(len(sizes))[labels] / np.sqrt(sizes[labels])[:, None]  # (T, r), orthonormal
        # first the direction of the mean of all tasks, then what is orthogonal to it
        rotation = np.linalg.qr(np.column_stack([np.sqrt(sizes), np.eye(len(sizes))[:, 1:]]))[0]
        values = np.full(len(sizes), between, dtype=np.float64)
        values[0] = mean
        return cls(within, clusters @ rotation, values)

    @property
    def n_tasks(self) -> int:
        """T."""
        return len(self.vectors)

    @property
    def is_singular(self) -> bool:
        """Whether Q has the eigenvalue 0."""
        return bool((self.values == 0).any())

    def lifted(self, share: float) -> TaskCoupling:
        """With a share of the largest eigenvalue in place of the eigenvalue 0.

        Args:
            share: positive.
        """
        least = share * max(self.base, float(self.values.max(initial=0.0)))
        return replace(self, values=np.where(self.values == 0, least, self.values))

    @property
    def precision(self) -> Array:
        """Q, shape (T, T)."""
        precision: Array = self.times(np.eye(self.n_tasks))
        return precision

    @property
    def kernel(self) -> Array:
        """The inverse of Q, shape (T, T): how much tasks tell about each other."""
        return self.inverse_times(np.eye(self.n_tasks))

    def split(self, A: Array) -> tuple[Array, Array]:
        """``A V``, shape (d, k), and what is left of A beside it, shape (d, T)."""
        along = A @ self.vectors
        return along, A - along @ self.vectors.T

    def times(self, A: Array) -> Array:
        """``A Q``."""
        along, beside = self.split(A)
        return self.base * beside + (along * self.values) @ self.vectors.T

    def inverse_times(self, G: Array) -> Array:
        """``G Q^-1``."""
        along, beside = self.split(G)
        return beside / self.base + (along / self.values) @ self.vectors.T

    def value(self, A: Array) -> float:
        """``tr(A Q A') / 2``, as a sum of squares."""
        along, beside = self.split(A)
        return 0.5 * (self.base * float(np.vdot(beside, beside)) + float((along**2 @ self.values).sum()))

    def prox(self, V: Array, step: float) -> Array:
        """``V (I + step Q)^-1``."""
        along, beside = self.split(V)
        return beside / (1 + step * self.base) + (along / (1 + step * self.values)) @ self.vectors.T

    def gauge(self, G: Array) -> float:
        """0: the conjugate is finite everywhere, unless Q is singular."""
        return float("inf") if self.is_singular else 0.0

    def threshold(self, G: Array) -> float:
        """Infinite unless G is 0: no strength makes the coefficients exactly 0."""
        return float("inf") if G.any() else 0.0

    def conjugate(self, G: Array) -> float:
        """``tr(G Q^-1 G') / 2``, as a sum of squares; infinite for a singular Q."""
        along, beside = self.split(G)
        if self.is_singular:
            return float("inf")
        return 0.5 * (float(np.vdot(beside, beside)) / self.base + float((along**2 @ (1 / self.values)).sum()))
