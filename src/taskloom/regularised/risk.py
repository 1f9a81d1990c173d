"""Risk of task data under the squared loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from taskloom.regularised._designs import whiten, written_out
from taskloom.regularised._least_squares import LeastSquares, LeastSquaresOfData
from taskloom.regularised.certificate import RiskPoint
from taskloom.regularised.data import Array, TaskData

__all__ = ["Risk", "SquaredRisk", "TaskData"]

Rows = NDArray[np.intp]


class Risk(Protocol):
    """The risk as a function of the coefficients alone: intercepts follow them, and so do features in ``free``."""

    n_features: int
    n_tasks: int

    def at(self, A: Array) -> RiskPoint:
        """Risk and dual point.

        Args:
            A: shape (d, T); rows of features in ``free`` are 0.
        """
        ...

    def intercepts(self, A: Array) -> Array:
        """The best intercepts, shape (T,).

        Args:
            A: shape (d, T), complete.
        """
        ...

    def without(self, free: Rows) -> Risk:
        """The same risk with features that are not penalised: their coefficients follow the others.

        Args:
            free: positions of the features.
        """
        ...

    def complete(self, A: Array, *, near: Array) -> Array:
        """Fill in the rows of the features in ``free``.

        Args:
            A: shape (d, T).
            near: where several coefficients are equally good, the nearest to these, shape (d, T).
        """
        ...


@dataclass(frozen=True, eq=False)
class SquaredRisk:
    """Weighted sum of the squared errors, halved.

    Args:
        data: designs, targets and weights.
        free: features that are not penalised.

    Example:
        >>> X, y, weights = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 2.0, 6.0]), np.full(3, 1 / 3)
        >>> risk = SquaredRisk(TaskData((X,), (y,), (weights,)))
        >>> point = risk.at(np.array([[2.5]]))
        >>> round(point.loss, 6), bool(abs(point.dual.G).max() < 1e-12)
        (0.25, True)
        >>> risk.intercepts(np.array([[2.5]])).round(6)
        array([0.5])
    """

    data: TaskData
    free: Rows = field(default_factory=lambda: np.zeros(0, dtype=np.intp))

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return self.data.n_features

    @property
    def n_tasks(self) -> int:
        """Number of tasks T."""
        return self.data.n_tasks

    @cached_property
    def least_squares(self) -> LeastSquares:
        """The problem in the penalised coefficients alone."""
        data = self.data
        if data.is_shared:
            triples = [(data.designs[0], np.array(data.targets), data.weights[0])]
        else:
            triples = [(X, y[None], w) for X, y, w in zip(data.designs, data.targets, data.weights, strict=True)]
        pieces = [whiten(X, Y, weights=w, fit_intercept=data.fit_intercept, free=self.free) for X, Y, w in triples]
        return LeastSquaresOfData(pieces, n_features=data.n_features)

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
        if not self.data.fit_intercept:
            return np.zeros(self.n_tasks)
        features, targets = self._means
        found: Array = targets - np.einsum("td,dt->t", features, A)
        return found

    @cached_property
    def _means(self) -> tuple[Array, Array]:
        """Weighted means of the features, shape (T, d), and of the targets, shape (T,)."""
        data = self.data
        totals = np.array([weights.sum() or 1.0 for weights in data.weights])
        targets = np.array([y @ w for y, w in zip(data.targets, data.weights, strict=True)]) / totals
        if data.is_shared:
            mean = np.asarray(data.designs[0].T @ data.weights[0]) / totals[0]
            return np.broadcast_to(mean, (data.n_tasks, data.n_features)), targets
        sums = np.array([X.T @ w for X, w in zip(data.designs, data.weights, strict=True)])
        return sums / totals[:, None], targets

    def without(self, free: Rows) -> SquaredRisk:
        """The same risk with features that are not penalised.

        Args:
            free: positions of the features.
        """
        return SquaredRisk(self.data, free)

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
        for t, (X, y, w) in enumerate(zip(self.data.designs, self.data.targets, self.data.weights, strict=True)):
            taken, left = written_out(X, self.free), y - X @ complete[:, t]
            if self.data.fit_intercept and w.sum() > 0:
                taken, left = taken - np.average(taken, axis=0, weights=w), left - np.average(left, weights=w)
            root = np.sqrt(w)
            change = scipy.linalg.lstsq(root[:, None] * taken, root * left, cond=1e-11, check_finite=False)[0]
            complete[self.free, t] += change
        return complete
