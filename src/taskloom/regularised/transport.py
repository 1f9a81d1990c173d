r"""Least squares of tasks whose coefficients are near in the sense of optimal transport between features.

The positive parts p_t of the coefficients of all tasks, and their negative parts n_t, are masses on the features. Each
is compared with a common mass by unbalanced transport, smoothed by entropy:

    W(p, m) = min_P  sum_ij epsilon (P_ij log (P_ij / K_ij) - P_ij) + gamma KL(P 1 | p) + gamma KL(P' 1 | m)
    K = exp(-cost / epsilon),    KL(x | y) = sum x log(x / y) - x + y
    penalty(A) = min over p - n = A and m  of  sparsity sum(p + n) + strength sum_t W(p_t, m_p) + W(n_t, m_n),
                 minus its value at A = 0, where it is smallest

Its conjugate is finite where all gradients are below ``sparsity + strength gamma``, smooth, and has a closed form. With

    s_t = 1 + (sparsity - g_t) / (strength gamma),    w_t = K' s_t^(-gamma / epsilon)
    m = (mean over t of w_t^r)^(1 / r),    r = epsilon / (epsilon + gamma)

the half that belongs to the positive parts is ``strength epsilon T sum(m)``, and m is the common mass. So the dual is a
smooth problem without constraints, in one number per sample. It is strongly convex, and half its squared gradient is
the duality gap of the gradient of the conjugate, taken for coefficients: no further certificate is needed.

Source:
    Janati, Cuturi, Gramfort, "Wasserstein regularization for sparse multi-task regression", AISTATS 2019 (the penalty,
    up to a constant).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from taskloom.regularised._least_squares import LeastSquaresOfData
from taskloom.regularised.data import Array, Solution
from taskloom.regularised.risk import SquaredRisk

__all__ = ["TransportConjugate", "TransportSolution", "solve_transport"]

_KEPT = 20  # pairs of steps and changes of the gradient
_ARMIJO = 1e-4
_SHORTEST = 2.0**-60
_LARGEST = 600.0  # logarithm of a mass, or of the ratio of two
_ROUNDING = 4 * float(np.finfo(np.float64).eps)


class Mass(NamedTuple):
    """Value of half of the conjugate, its gradient (T, d), the common mass (d,)."""

    value: float
    coefficients: Array
    common: Array


@dataclass(frozen=True)
class TransportConjugate:
    """The conjugate of the penalty, less its value at 0.

    Args:
        cost: of moving mass from one feature to another, shape (d, d), not negative, 0 for a feature and itself.
        sparsity: strength of the masses themselves, at least 0.
        strength: of the transport, positive.
        epsilon: of the entropy, in units of the cost.
        gamma: price of making or losing mass, in units of the cost.

    Example:
        >>> conjugate = TransportConjugate(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.1, 1.0, 0.5, 1.0)
        >>> conjugate.half(np.zeros((3, 2))).coefficients.round(4)
        array([[0.853, 0.853],
               [0.853, 0.853],
               [0.853, 0.853]])
    """

    cost: Array
    sparsity: float
    strength: float
    epsilon: float
    gamma: float

    def half(self, G: Array) -> Mass:
        """The part of the positive masses; infinite outside its domain.

        Args:
            G: gradients, shape (T, d).
        """
        n_tasks, price = len(G), self.strength * self.gamma
        outside = Mass(np.inf, np.zeros(G.shape), np.zeros(G.shape[1]))
        s = 1 + (self.sparsity - G) / price
        if not (s > 0).all():
            return outside
        r = self.epsilon / (self.epsilon + self.gamma)
        log_u = -(self.gamma / self.epsilon) * np.log(s)
        log_w = self._product(log_u, backward=False)
        log_m = (np.logaddexp.reduce(r * log_w, axis=0) - np.log(n_tasks)) / r
        log_v = (1 - r) * (log_m - log_w)
        log_x = log_u + self._product(log_v, backward=True)
        if not max(log_m.max(), log_x.max()) < _LARGEST:  # as good as outside: there the value grows without bound
            return outside
        common = np.exp(log_m)
        value = self.strength * self.epsilon * n_tasks * float(common.sum())
        return Mass(value, np.exp(log_x) / s, common)

    @cached_property
    def _kernel(self) -> Array:
        return np.asarray(np.exp(-self.cost / self.epsilon))

    def _product(self, log_values: Array, *, backward: bool) -> Array:
        """``log(exp(log_values) @ K)``, or with K transposed; slower where numbers would be too small."""
        largest = log_values.max(axis=1, keepdims=True)
        if not (largest - log_values.min(axis=1, keepdims=True) < _LARGEST).all():
            cost = self.cost.T if backward else self.cost
            return np.stack([logsumexp(one[:, None] - cost / self.epsilon, axis=0) for one in log_values])
        K = self._kernel.T if backward else self._kernel
        product: Array = np.log(np.exp(log_values - largest) @ K) + largest
        return product


@dataclass(frozen=True)
class TransportSolution:
    """Coefficients with their certificate, and the common masses of the positive and of the negative parts, (2, d)."""

    solution: Solution
    common: Array


class _Point(NamedTuple):
    value: float  # of the negative dual
    gradient: Array
    coefficients: Array  # (T, d)
    common: Array  # (2, d)


class _Dual:
    """``sum z^2 / 2 - z'y + conjugate(X'z)``, the samples weighed and centred; z is what is left of y at the end."""

    def __init__(self, problem: LeastSquaresOfData, conjugate: TransportConjugate) -> None:
        """One number per sample of every task."""
        self.problem, self.conjugate = problem, conjugate
        self.roots = [np.sqrt(piece.scale) for piece in problem.pieces]
        self.targets = self._flat([piece.targets for piece in problem.pieces])
        at_zero = conjugate.half(np.zeros((problem.n_tasks, problem.n_features)))
        self.value_at_zero = 2 * at_zero.value

    def at(self, z: Array) -> _Point:
        places = np.cumsum([piece.targets.size for piece in self.problem.pieces])[:-1]
        parts = [
            root * one.reshape(piece.targets.shape)
            for root, one, piece in zip(self.roots, np.split(z, places), self.problem.pieces, strict=True)
        ]
        G = np.concatenate([piece.design.correlate(one) for piece, one in zip(self.problem.pieces, parts, strict=True)])
        up, down = self.conjugate.half(G), self.conjugate.half(-G)
        value = float(z @ z / 2 - z @ self.targets) + up.value + down.value - self.value_at_zero
        coefficients = up.coefficients - down.coefficients
        if not np.isfinite(value):
            return _Point(np.inf, z, coefficients, np.stack([up.common, down.common]))
        gradient = z - self._flat(self.problem.residuals(coefficients.T))
        return _Point(value, gradient, coefficients, np.stack([up.common, down.common]))

    def _flat(self, values: list[Array]) -> Array:
        return np.concatenate([(root * one).ravel() for root, one in zip(self.roots, values, strict=True)])


def solve_transport(
    risk: SquaredRisk, conjugate: TransportConjugate, *, tol: float = 1e-6, max_iterations: int = 10_000
) -> TransportSolution:
    """Minimise the squared risk plus the penalty, by quasi-Newton steps on the dual.

    Args:
        risk: of the data.
        conjugate: of the penalty.
        tol: gap, as a fraction of the risk without coefficients.
        max_iterations: steps at most.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, weights = np.eye(2), np.ones(2)
        >>> data = TaskData((X, X), (np.array([3.0, 0.0]), np.array([0.0, 3.0])), (weights, weights), False)
        >>> conjugate = TransportConjugate(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.1, 1.0, 0.1, 1.0)
        >>> found = solve_transport(SquaredRisk(data), conjugate, tol=1e-10)
        >>> found.solution.converged, found.solution.coefficients.round(2)
        (True, array([[2.63, 0.24],
               [0.24, 2.63]]))
    """
    problem = risk.least_squares
    assert isinstance(problem, LeastSquaresOfData)
    dual = _Dual(problem, conjugate)
    target = tol * problem.square / 2
    z = np.zeros(len(dual.targets))
    point = dual.at(z)
    pairs: deque[tuple[Array, Array]] = deque(maxlen=_KEPT)
    iteration = 0
    while float(point.gradient @ point.gradient) / 2 > target and iteration < max_iterations:
        found = _step(dual, z, point, _direction(point.gradient, pairs))
        if found is None and pairs:  # rounding spoilt the pairs: begin again from the gradient
            pairs.clear()
            found = _step(dual, z, point, -point.gradient)
        if found is None:
            break
        iteration += 1
        following, reached = found
        step, change = following - z, reached.gradient - point.gradient
        if float(step @ change) > 0:  # always, but for rounding
            pairs.append((step, change))
        z, point = following, reached
    gap = float(point.gradient @ point.gradient) / 2
    A = np.ascontiguousarray(point.coefficients.T)
    solution = Solution((A,), risk.intercepts(A), gap - point.value, gap, iteration, gap <= target)
    return TransportSolution(solution, point.common)


def _direction(gradient: Array, pairs: deque[tuple[Array, Array]]) -> Array:
    """Minus the gradient times the inverse of the Hessian that the pairs suggest (L-BFGS)."""
    direction = -gradient
    factors = []
    for step, change in reversed(pairs):
        factor = float(step @ direction) / float(step @ change)
        factors.append(factor)
        direction = direction - factor * change
    if pairs:
        step, change = pairs[-1]
        direction = direction * (float(step @ change) / float(change @ change))
    for (step, change), factor in zip(pairs, reversed(factors), strict=True):
        direction = direction + (factor - float(change @ direction) / float(step @ change)) * step
    return direction


def _step(dual: _Dual, z: Array, point: _Point, direction: Array) -> tuple[Array, _Point] | None:
    """The longest of the steps 1, 1/2, 1/4, ... that lowers the value enough; None if none does."""
    slope = float(point.gradient @ direction)
    if not slope < 0:
        return None
    length, rounding = 1.0, _ROUNDING * abs(point.value)
    while length >= _SHORTEST:
        following = z + length * direction
        reached = dual.at(following)
        if reached.value <= point.value + _ARMIJO * length * slope + rounding:
            return following, reached
        length /= 2
    return None
