"""Squared risk from sums over samples: sums are added and subtracted, so folds of a table share their work.

For each task the sums of the weights w, of ``w x``, ``w y``, ``w x x'``, ``w x y`` and ``w y^2`` are all that least
squares needs. The sums without a fold are those of all samples minus those of the fold: for k folds the Gram matrices
cost two passes over the samples in place of k - 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from taskloom.regularised._least_squares import GramLeastSquares
from taskloom.regularised.certificate import RiskPoint
from taskloom.regularised.data import Array, TaskData

__all__ = ["MomentRisk", "Moments"]

Rows = NDArray[np.intp]

# Sums of squares that shrink by subtraction to less than this share are rounding.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Moments:
    """Weighted sums over the samples of every task; G = 1 where all tasks have the same samples, T otherwise.

    Args:
        totals: of the weights, shape (G,).
        features: of the features, shape (G, d).
        targets: of the targets, shape (T,).
        products: of the products of features, shape (G, d, d).
        correlations: of features times targets, shape (T, d).
        squares: of the squared targets, shape (T,).

    Example:
        >>> X, y = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 2.0, 3.0])
        >>> both, last = (Moments.of(TaskData((X[s:],), (y[s:],), (np.ones(3 - s),))) for s in (0, 2))
        >>> (both - last).products.ravel(), (both - last).squares
        (array([5.]), array([5.]))
    """

    totals: Array
    features: Array
    targets: Array
    products: Array
    correlations: Array
    squares: Array

    @classmethod
    def of(cls, data: TaskData) -> Moments:
        """Sums over dense data with their weights.

        Args:
            data: designs, targets and weights.
        """
        y, w = data.targets, data.weights
        targets = np.array([a @ b for a, b in zip(w, y, strict=True)])
        squares = np.array([a @ b**2 for a, b in zip(w, y, strict=True)])
        correlations = np.stack([(a * b) @ X for X, a, b in zip(data.designs, w, y, strict=True)])
        groups = 1 if data.is_shared else data.n_tasks
        totals = np.array([one.sum() for one in w[:groups]])
        features = np.stack([a @ X for X, a in zip(data.designs[:groups], w[:groups], strict=True)])
        products = np.stack([_gram(X, a) for X, a in zip(data.designs[:groups], w[:groups], strict=True)])
        return cls(totals, features, targets, products, correlations, squares)

    def __sub__(self, other: Moments) -> Moments:
        """Sums over the samples that are not in the other; both of one form."""
        return Moments(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))

    def times(self, factors: Array) -> Moments:
        """With the weights of each task multiplied.

        Args:
            factors: not negative, shape (T,).
        """
        is_shared = len(self.totals) < len(factors)
        common = factors[:1] if is_shared and np.all(factors == factors[0]) else factors
        return Moments(
            self.totals * common,
            self.features * common[:, None],
            self.targets * factors,
            self.products * common[:, None, None],
            self.correlations * factors[:, None],
            self.squares * factors,
        )


def _gram(X: Array, weights: Array) -> Array:
    if len(weights) and np.all(weights == weights[0]):
        plain: Array = weights[0] * (X.T @ X)
        return plain
    rooted = np.sqrt(weights)[:, None] * X
    weighted: Array = rooted.T @ rooted
    return weighted


@dataclass(frozen=True, eq=False)
class MomentRisk:
    """Weighted sum of the squared errors, halved, from moments.

    Args:
        moments: with the weights of samples and tasks.
        fit_intercept: whether each task has an intercept.
        free: features that are not penalised.

    Example:
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 2.0, 6.0])
        >>> risk = MomentRisk(Moments.of(TaskData((X,), (y,), (np.full(3, 1 / 3),))))
        >>> round(risk.at(np.array([[2.5]])).loss, 6), risk.intercepts(np.array([[2.5]])).round(6)
        (0.25, array([0.5]))
    """

    moments: Moments
    fit_intercept: bool = True
    free: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.intp))

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return int(self.moments.features.shape[1])

    @property
    def n_tasks(self) -> int:
        """Number of tasks T."""
        return len(self.moments.targets)

    @cached_property
    def _means(self) -> tuple[Array, Array]:
        """Means of the features, shape (G, d), and of the targets, shape (T,); 0 without intercepts."""
        m = self.moments
        if not self.fit_intercept:
            return np.zeros_like(m.features), np.zeros_like(m.targets)
        totals = np.where(m.totals > 0, m.totals, 1.0)
        return m.features / totals[:, None], m.targets / totals

    @cached_property
    def _centred(self) -> GramLeastSquares:
        """Least squares without intercepts, the free features not yet removed."""
        m = self.moments
        features, targets = self._means
        H = m.products - features[:, :, None] * m.features[:, None, :]
        raw = np.diagonal(m.products, axis1=1, axis2=2)
        constant = np.diagonal(H, axis1=1, axis2=2) <= _ROUNDING * raw
        H = np.where(constant[:, :, None] | constant[:, None, :], 0.0, H)
        r = np.where(constant, 0.0, m.correlations - features * m.targets[:, None])
        squares = m.squares - targets * m.targets
        return GramLeastSquares(H, r.T, squares=np.where(squares > _ROUNDING * m.squares, squares, 0.0))

    @cached_property
    def least_squares(self) -> GramLeastSquares:
        """The problem in the penalised coefficients alone."""
        whole, free = self._centred, self.free
        if len(free) == 0:
            return whole
        H, r, squares = whole.H.copy(), whole.r.copy(), whole.squares.copy()
        for group in range(len(H)):
            tasks = slice(None) if len(H) == 1 else slice(group, group + 1)
            inverse = scipy.linalg.pinvh(H[group][np.ix_(free, free)], rtol=1e-11)
            across, beside = H[group][:, free], r[free, tasks].copy()
            H[group] -= across @ inverse @ across.T
            r[:, tasks] -= across @ inverse @ beside
            squares[tasks] -= np.einsum("pt,pq,qt->t", beside, inverse, beside)
        H[:, free, :] = H[:, :, free] = 0.0
        r[free] = 0.0
        return GramLeastSquares(H, r, squares=np.maximum(squares, 0.0))

    def at(self, A: Array) -> RiskPoint:
        """Risk and dual point.

        Args:
            A: shape (d, T); rows of features in ``free`` are 0.
        """
        return self.least_squares.at(A)

    def intercepts(self, A: Array) -> Array:
        """Weighted means of ``y - x . a``, shape (T,).

        Args:
            A: shape (d, T).
        """
        features, targets = self._means
        found: Array = targets - np.einsum("td,dt->t", np.broadcast_to(features, A.T.shape), A)
        return found

    def without(self, free: Rows) -> MomentRisk:
        """The same risk with features that are not penalised.

        Args:
            free: positions of the features.
        """
        return MomentRisk(self.moments, self.fit_intercept, free)

    def complete(self, A: Array, *, near: Array) -> Array:
        """Fill in the rows of the features in ``free`` by least squares.

        Args:
            A: shape (d, T).
            near: where several coefficients are equally good, the nearest to these, shape (d, T).
        """
        if len(self.free) == 0:
            return A
        complete = A.copy()
        complete[self.free] = near[self.free]
        G = self._centred.at(complete).dual.G[self.free]
        for group, H in enumerate(self._centred.H):
            tasks = slice(None) if len(self._centred.H) == 1 else slice(group, group + 1)
            change = scipy.linalg.pinvh(H[np.ix_(self.free, self.free)], rtol=1e-11) @ G[:, tasks]
            complete[self.free, tasks] += change
        return complete
