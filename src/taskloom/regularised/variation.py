"""Least squares with the total variation along ordered tasks alone: what all tasks have in common is not penalised.

    minimise  loss(A) + alpha sum_jt |a_j,t+1 - a_jt|

A vector that is added to all tasks leaves the penalty as it is. It is therefore minimised out,
``loss'(A) = min over m of loss(A + m 1')``, by one linear system. The gradients of what is left sum to 0 over the tasks
in every row, and then the dual norm is finite:

    max_jt |g_j1 + ... + g_jt| <= alpha

Source:
    Tibshirani, Saunders, Rosset, Zhu, Knight, "Sparsity and smoothness via the fused lasso", JRSS B 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskloom.regularised._least_squares import LeastSquares
from taskloom.regularised.certificate import RiskPoint
from taskloom.regularised.data import Array, Solution, TaskData
from taskloom.regularised.least_squares import curvature_of
from taskloom.regularised.proximal_gradient import solve_by_proximal_gradient
from taskloom.regularised.risk import SquaredRisk
from taskloom.solvers.prox.variation import smooth_rows

__all__ = ["solve_variation"]

_BALANCED = 1e-9  # sums of gradients below this share of their sizes are 0
_ROUNDING = 1e-12


@dataclass(frozen=True)
class _Variation:
    """Sum of the differences of neighbouring entries of the rows."""

    alpha: float

    def value(self, A: Array) -> float:
        return self.alpha * float(np.abs(np.diff(A, axis=1)).sum())

    def prox(self, V: Array, step: float) -> Array:
        return smooth_rows(V, step * self.alpha)

    def gauge(self, G: Array) -> float:
        sums = np.cumsum(G, axis=1)
        if (np.abs(sums[:, -1]) > _BALANCED * max(float(np.abs(G).sum()), 1e-300)).any():
            return np.inf
        return float(np.abs(sums[:, :-1]).max(initial=0.0)) / self.alpha

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)


class _WithoutCommon:
    """Least squares with the best vector added to the coefficients of all tasks."""

    def __init__(self, problem: LeastSquares) -> None:
        """One eigendecomposition of the sum of the Gram matrices."""
        self.problem = problem
        H = problem.grams(np.arange(problem.n_features)).sum(axis=0)
        values, self._vectors = np.linalg.eigh(H * (problem.n_tasks / problem.n_grams))
        kept = values > _ROUNDING * len(values) * values.max(initial=0.0)
        self._inverses = np.divide(1.0, values, out=np.zeros_like(values), where=kept)

    def complete(self, A: Array) -> Array:
        """``A + m 1'`` with the best m; the smallest where several are."""
        sums = self.problem.at(A).dual.G.sum(axis=1)
        common = self._vectors @ (self._inverses * (self._vectors.T @ sums))
        completed: Array = A + common[:, None]
        return completed

    def at(self, A: Array) -> RiskPoint:
        """The risk where the common vector is best."""
        return self.problem.at(self.complete(A))


def solve_variation(
    data: TaskData, alpha: float, *, tol: float, max_iterations: int, start: Solution | None = None
) -> Solution:
    """Minimise the squared loss plus the total variation along the tasks.

    Args:
        data: the tasks in their order.
        alpha: strength, positive.
        tol: as in :func:`taskloom.regularised.solve`.
        max_iterations: steps at most.
        start: a solution of a similar problem to begin with.

    Returns:
        one part. From some alpha on all tasks have the same coefficients.

    Example:
        >>> X, weights = np.ones((1, 1)), np.ones(1)
        >>> data = TaskData((X,) * 3, (np.array([1.0]), np.array([2.0]), np.array([6.0])), (weights,) * 3, False)
        >>> solve_variation(data, 1.0, tol=1e-10, max_iterations=1000).coefficients
        array([[2., 2., 5.]])
    """
    risk = SquaredRisk(data)
    profiled = _WithoutCommon(risk.least_squares)
    zeros = np.zeros((data.n_features, data.n_tasks))
    at_zero = risk.at(zeros).loss
    reached = solve_by_proximal_gradient(
        profiled.at,
        _Variation(alpha),
        curvature=curvature_of(profiled.problem),
        start=(zeros if start is None else start.coefficients,),
        target=tol * at_zero,
        max_iterations=max_iterations,
    )
    A = profiled.complete(reached.parts[0])
    is_reached = bool(reached.gap <= (tol + _ROUNDING) * at_zero)
    return Solution((A,), risk.intercepts(A), reached.objective, reached.gap, reached.n_iterations, is_reached)
