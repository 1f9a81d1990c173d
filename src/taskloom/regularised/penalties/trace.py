"""Penalties on the singular values: trace norm, its square, its ball.

    trace norm:   alpha ||A||_*               polar: the largest singular value
    squared:      (alpha / 2) ||A||_*^2       conjugate: sigma_1(G)^2 / (2 alpha)
    ball:         0 where ||A||_* <= radius   conjugate: radius sigma_1(G)

Source:
    Fazel, Hindi, Boyd, "A rank minimization heuristic with application to minimum order system approximation", ACC
    2001; Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", Mach. Learn. 2008 (the square).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.solvers.prox.singular_values import (
    project_trace_ball,
    shrink_singular_values,
    shrink_squared,
    singular_values,
)

__all__ = ["SquaredTrace", "Trace", "TraceBall"]


def _largest(G: Array) -> float:
    return float(singular_values(G).max(initial=0.0))


@dataclass(frozen=True)
class Trace(Penalty):
    """Sum of the singular values.

    Args:
        alpha: strength, positive.

    Example:
        >>> Trace(2.0).value(np.diag([1.0, 3.0]))
        8.0
    """

    alpha: float

    def value(self, A: Array) -> float:
        return self.alpha * float(singular_values(A).sum())

    def prox(self, V: Array, step: float) -> Array:
        return shrink_singular_values(V, step * self.alpha)

    def gauge(self, G: Array) -> float:
        return _largest(G) / self.alpha

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)


@dataclass(frozen=True)
class SquaredTrace(Penalty):
    """Half the square of the sum of the singular values.

    Args:
        alpha: strength, positive.

    Example:
        >>> SquaredTrace(2.0).value(np.diag([1.0, 3.0]))
        16.0
    """

    alpha: float

    def value(self, A: Array) -> float:
        return self.alpha / 2 * float(singular_values(A).sum()) ** 2

    def prox(self, V: Array, step: float) -> Array:
        return shrink_squared(V, step * self.alpha)

    def gauge(self, G: Array) -> float:
        return 0.0

    def conjugate(self, G: Array) -> float:
        return _largest(G) ** 2 / (2 * self.alpha)

    def threshold(self, G: Array) -> float:
        return np.inf if G.any() else 0.0


@dataclass(frozen=True)
class TraceBall(Penalty):
    """A bound on the sum of the singular values.

    Args:
        radius: the bound, positive.

    Example:
        >>> TraceBall(2.0).prox(np.diag([3.0, 1.0]), 1.0)
        array([[2., 0.],
               [0., 0.]])
    """

    radius: float

    def value(self, A: Array) -> float:
        return 0.0 if singular_values(A).sum() <= self.radius * (1 + 1e-9) else np.inf

    def prox(self, V: Array, step: float) -> Array:
        return project_trace_ball(V, self.radius)

    def gauge(self, G: Array) -> float:
        return 0.0

    def conjugate(self, G: Array) -> float:
        return self.radius * _largest(G)

    def threshold(self, G: Array) -> float:
        return np.inf if G.any() else 0.0
