"""Risk of task data under the logistic loss of two classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import expit

from taskloom.regularised._designs import written_out
from taskloom.regularised.certificate import LogisticDual, RiskPoint
from taskloom.regularised.data import Array, TaskData

__all__ = ["LogisticPoint", "LogisticRisk"]

Rows = NDArray[np.intp]

_MOST_STEPS = 100
_LONGEST = 5.0  # of a step of the intercepts, in log odds
_FLAT = 4e-15  # a slope that is this small a share of the pulls is 0 to rounding


@dataclass(frozen=True)
class LogisticPoint(RiskPoint):
    """The risk at some coefficients, with what Newton's method needs.

    Args:
        predictors: of all samples, those of one task after the other, shape (N,).
        pulls: ``-weight loss'``, shape (N,).
        curvatures: ``weight loss''``, shape (N,).

    Example:
        >>> risk = LogisticRisk(TaskData((np.eye(2),), (np.array([1.0, -1.0]),), (np.ones(2),)))
        >>> risk.at(np.zeros((2, 1))).predictors
        array([0., 0.])
    """

    predictors: Array
    pulls: Array
    curvatures: Array


@dataclass(frozen=True, eq=False)
class LogisticRisk:
    """Weighted sum of ``log(1 + exp(-y eta))`` over samples with labels -1 and 1.

    Args:
        data: designs, labels and weights; with an intercept every task has both labels.
        free: features that are not penalised.

    Example:
        >>> X, y = np.array([[-1.0], [1.0], [2.0]]), np.array([-1.0, 1.0, -1.0])
        >>> risk = LogisticRisk(TaskData((X,), (y,), (np.ones(3),)))
        >>> risk.intercepts(np.zeros((1, 1))).round(4)
        array([-0.6931])
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

    # -- samples, those of one task after the other ------------------------------------------------------------------

    @cached_property
    def labels(self) -> Array:
        """-1 and 1, shape (N,)."""
        return np.concatenate(self.data.targets)

    @cached_property
    def weights(self) -> Array:
        """Weights of all samples, shape (N,)."""
        return np.concatenate(self.data.weights)

    @cached_property
    def tasks(self) -> Rows:
        """Which task each sample belongs to, shape (N,)."""
        return np.repeat(np.arange(self.n_tasks), [len(y) for y in self.data.targets])

    def split(self, values: Array) -> list[Array]:
        """Values of all samples by task.

        Args:
            values: shape (N,).
        """
        return np.split(values, np.cumsum([len(y) for y in self.data.targets])[:-1])

    def _per_task(self, values: Array) -> Array:
        """Sums over the samples of each task, shape (T,)."""
        return np.asarray(np.bincount(self.tasks, weights=values, minlength=self.n_tasks), dtype=np.float64)

    def _predict(self, A: Array) -> Array:
        """``x . a_t`` of all samples, shape (N,)."""
        support = np.flatnonzero(A.any(axis=1))
        if len(support) == 0:
            return np.zeros(len(self.labels))
        few = 2 * len(support) < len(A)
        taken = A[support] if few else A
        designs = self.data.designs
        if self.data.is_shared:
            X = designs[0][:, support] if few else designs[0]
            return np.ascontiguousarray((X @ taken).T).ravel()
        return np.concatenate([(X[:, support] if few else X) @ taken[:, t] for t, X in enumerate(designs)])

    def _correlate(self, u: Array) -> Array:
        """``X_t' u_t``, shape (d, T)."""
        if self.data.is_shared:
            product: Array = self.data.designs[0].T @ u.reshape(self.n_tasks, -1).T
            return product
        return np.stack([X.T @ one for X, one in zip(self.data.designs, self.split(u), strict=True)], axis=1)

    # -- the risk ----------------------------------------------------------------------------------------------------

    def at(self, A: Array) -> LogisticPoint:
        """Risk and dual point.

        Args:
            A: shape (d, T); rows of features in ``free`` are 0.
        """
        predictors = self._with_free_part(self._predict(A))
        margins = self.labels * predictors
        misses = expit(-margins)
        pulls = self.weights * self.labels * misses
        curvatures = self.weights * misses * expit(margins)
        loss = float((self.weights * np.logaddexp(0.0, -margins)).sum())
        u = self._balanced(pulls, curvatures)
        with np.errstate(invalid="ignore", divide="ignore"):
            p = np.where(self.weights > 0, self.labels * u / self.weights, 0.0)
        if p.min(initial=0.0) < -1e-12 or p.max(initial=0.0) > 1 + 1e-12:
            u, p = 0 * u, 0 * p  # no dual point can be made of it: the bound of 0 holds always
        G = self._correlate(u)
        G[self.free] = 0.0  # up to rounding
        dual = LogisticDual(G, np.clip(p, 0.0, 1.0), self.weights)
        return LogisticPoint(loss, dual, predictors, pulls, curvatures)

    def _with_free_part(self, predictors: Array) -> Array:
        """Predictors with the best intercepts and the best coefficients of the free features."""
        if len(self.free) == 0:
            return predictors + self._best_intercepts(predictors)[self.tasks]
        parts = [
            part + Z @ _free_coefficients(part, Z, y, w)
            for part, Z, y, w in zip(
                self.split(predictors), self._free_designs, self.data.targets, self.data.weights, strict=True
            )
        ]
        return np.concatenate(parts)

    @cached_property
    def _free_designs(self) -> list[Array]:
        """A column of ones for the intercept, and the free features, shapes (n_t, p)."""
        ones = int(self.data.fit_intercept)
        return [
            np.concatenate([np.ones((X.shape[0], ones)), written_out(X, self.free)], axis=1) for X in self.data.designs
        ]

    def _best_intercepts(self, predictors: Array) -> Array:
        """By Newton's method in each task, kept within the bracket of the signs of the derivative; shape (T,)."""
        b = np.zeros(self.n_tasks)
        if not self.data.fit_intercept:
            return b
        low, high = np.full(self.n_tasks, -np.inf), np.full(self.n_tasks, np.inf)
        for _ in range(_MOST_STEPS):
            margins = self.labels * (predictors + b[self.tasks])
            pulls = self.weights * expit(-margins)
            slope = self._per_task(self.labels * pulls)
            curvature = self._per_task(pulls * expit(margins))
            low, high = np.where(slope > 0, b, low), np.where(slope > 0, high, b)
            longest = np.copysign(_LONGEST, slope) * (slope != 0)
            with np.errstate(over="ignore"):
                step = np.divide(slope, curvature, out=longest, where=curvature > 0)
            following = b + np.minimum(np.maximum(step, -_LONGEST), _LONGEST)
            is_within = (following > low) & (following < high)
            if not is_within.all():
                middle = np.where(np.isinf(low) | np.isinf(high), following, low / 2 + high / 2)
                following = np.where(is_within, following, middle)
            is_still = np.abs(following - b) <= 1e-15 * np.maximum(1.0, np.abs(b))
            is_done = is_still | (np.abs(slope) <= _FLAT * self._per_task(pulls))
            if np.all(is_done):
                break
            b = np.where(is_done, b, following)  # at rounding, halving the bracket would lead away again
        return b

    def _balanced(self, pulls: Array, curvatures: Array) -> Array:
        """Pulls that sum to 0 in each task, also when multiplied with the free features.

        For an intercept alone the class that pulls more is scaled down; the shares p stay between 0 and 1. With free
        features what is left by Newton's method is projected away.
        """
        if len(self.free):
            parts = [
                u - c * (Z @ scipy.linalg.lstsq(Z.T @ (c[:, None] * Z), Z.T @ u, cond=1e-13)[0])
                for u, c, Z in zip(self.split(pulls), self.split(curvatures), self._free_designs, strict=True)
            ]
            return np.concatenate(parts)
        if not self.data.fit_intercept:
            return pulls
        is_positive = self.labels > 0
        up = self._per_task(np.where(is_positive, pulls, 0.0))
        down = -self._per_task(np.where(is_positive, 0.0, pulls))
        common = np.minimum(up, down)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors_up = np.where(up > 0, common / up, 1.0)
            factors_down = np.where(down > 0, common / down, 1.0)
        return pulls * np.where(is_positive, factors_up[self.tasks], factors_down[self.tasks])

    def intercepts(self, A: Array) -> Array:
        """The best intercepts, shape (T,).

        Args:
            A: shape (d, T), complete.
        """
        return self._best_intercepts(self._predict(A))

    def without(self, free: Rows) -> LogisticRisk:
        """The same risk with features that are not penalised.

        Args:
            free: positions of the features.
        """
        return LogisticRisk(self.data, free)

    def complete(self, A: Array, *, near: Array) -> Array:
        """Fill in the rows of the features in ``free``.

        Args:
            A: shape (d, T).
            near: not used: Newton's method begins at 0.
        """
        if len(self.free) == 0:
            return A
        complete = A.copy()
        parts = zip(self.split(self._predict(A)), self._free_designs, self.data.targets, self.data.weights, strict=True)
        for t, (part, Z, y, w) in enumerate(parts):
            complete[self.free, t] = _free_coefficients(part, Z, y, w)[int(self.data.fit_intercept) :]
        return complete


def _free_coefficients(predictors: Array, Z: Array, labels: Array, weights: Array) -> Array:
    """Coefficients of unpenalised columns beside given predictors, by Newton's method with halved steps; shape (p,)."""
    found = np.zeros(Z.shape[1])

    def loss_at(candidate: Array) -> float:
        return float((weights * np.logaddexp(0.0, -labels * (predictors + Z @ candidate))).sum())

    loss = loss_at(found)
    for _ in range(_MOST_STEPS):
        margins = labels * (predictors + Z @ found)
        misses = expit(-margins)
        slope = Z.T @ (weights * labels * misses)
        hessian = Z.T @ ((weights * misses * expit(margins))[:, None] * Z)
        step = scipy.linalg.lstsq(hessian, slope, cond=1e-13)[0]
        length = 1.0
        while length > 1e-10 and loss_at(found + length * step) > loss - 1e-4 * length * float(slope @ step):
            length /= 2
        following = loss_at(found + length * step)
        if following >= loss:
            break
        found, loss = found + length * step, following
        if float(slope @ step) <= 1e-30 * max(loss, 1e-300):
            break
    return found
