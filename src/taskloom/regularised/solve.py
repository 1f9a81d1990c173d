"""One door to all solvers: minimise a risk plus a penalty, with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised._measure import AnyPenalty, measure
from taskloom.regularised.data import Array, Solution
from taskloom.regularised.least_squares import solve_least_squares
from taskloom.regularised.logistic_risk import LogisticRisk
from taskloom.regularised.moments import MomentRisk
from taskloom.regularised.newton import solve_logistic
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.working_set import Reached

__all__ = ["AnyRisk", "largest_alpha", "path", "solve"]

AnyRisk: TypeAlias = SquaredRisk | MomentRisk | LogisticRisk

_ROUNDING = 1e-12  # thresholds that are above 1 by no more than this are 1
_TIGHTER = (1e-3, 1e-6, 1e-9)  # tolerances, as shares of the one asked for


def solve(
    risk: AnyRisk,
    penalty: AnyPenalty,
    *,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
    start: Solution | None = None,
) -> Solution:
    """Minimise the risk plus the penalty.

    Args:
        risk: of the data.
        penalty: on the coefficients; a :class:`PartSum` for coefficients in parts.
        tol: the solution is good enough when its certified distance from the smallest objective is at most ``tol``
            times the risk without coefficients.
        max_iterations: most iterations of the solver.
        start: a solution of a similar problem to begin with.

    Returns:
        coefficients, intercepts, objective and gap. Coefficients are exactly 0 from the largest alpha on.

    Example:
        >>> from taskloom.regularised import RowNorm, TaskData
        >>> X, y, weights = np.diag([3.0, 1.0]), np.array([3.0, 0.5]), np.ones(2)
        >>> risk = SquaredRisk(TaskData((X,), (y,), (weights,), fit_intercept=False))
        >>> solution = solve(risk, RowNorm(1.0), tol=1e-12)
        >>> solution.coefficients.round(6).ravel(), solution.converged
        (array([0.888889, 0.      ]), True)
    """
    n_parts = len(penalty.penalties) if isinstance(penalty, PartSum) else 1
    free = _free_rows(penalty, risk.n_features)
    if len(free):
        risk = risk.without(free)
    zeros = tuple(np.zeros((risk.n_features, risk.n_tasks)) for _ in range(n_parts))
    at_zero = risk.at(zeros[0])
    target = tol * at_zero.loss
    if penalty.threshold(at_zero.dual.G) <= 1 + _ROUNDING:
        measured = measure(at_zero, penalty, zeros)
        reached = Reached(zeros, measured.objective, max(measured.gap, 0.0), 0)
    else:
        begin = zeros if start is None else tuple(_without(part, free) for part in start.parts)
        reached = _minimise(risk, penalty, begin, target, max_iterations)
        for tighter in _TIGHTER:  # zeros may be near the optimum, but below the largest alpha they are not optimal
            if any(part.any() for part in reached.parts):
                break
            reached = _minimise(risk, penalty, zeros, tighter * target, max_iterations)
    near = zeros[0] if start is None else start.parts[0]
    parts = (risk.complete(reached.parts[0], near=near), *reached.parts[1:])
    intercepts = risk.intercepts(parts[0] if n_parts == 1 else np.sum(parts, axis=0))
    is_reached = bool(reached.gap <= target + _ROUNDING * at_zero.loss)
    return Solution(parts, intercepts, reached.objective, reached.gap, reached.n_iterations, is_reached)


def _minimise(
    risk: AnyRisk, penalty: AnyPenalty, start: tuple[Array, ...], target: float, max_iterations: int
) -> Reached:
    if isinstance(risk, LogisticRisk):
        return solve_logistic(risk, penalty, start=start, target=target, max_iterations=max_iterations)
    problem = risk.least_squares
    return solve_least_squares(problem, penalty, start=start, target=target, max_iterations=max_iterations)


def _free_rows(penalty: AnyPenalty, n_features: int) -> NDArray[np.intp]:
    """Features that are not penalised at all."""
    first = penalty.penalties[0] if isinstance(penalty, PartSum) else penalty
    if not isinstance(first, RowNorm) or first.weights is None:
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(np.broadcast_to(first.strengths, n_features) == 0)


def _without(part: Array, free: NDArray[np.intp]) -> Array:
    if len(free) == 0:
        return part
    result = part.copy()
    result[free] = 0.0
    return result


def largest_alpha(risk: AnyRisk, penalty: AnyPenalty) -> float:
    """By how much a penalty has to be multiplied for all coefficients to become 0.

    For a penalty with strength 1 it is the largest alpha of a path. With several strengths it is their common factor.

    Args:
        risk: of the data.
        penalty: any penalty.

    Returns:
        the factor: at it and above the solution is 0, below it is not; infinite for penalties without zeros.

    Example:
        >>> from taskloom.regularised import RowNorm, TaskData
        >>> X, y, weights = np.diag([3.0, 1.0]), np.array([3.0, 0.5]), np.ones(2)
        >>> largest_alpha(SquaredRisk(TaskData((X,), (y,), (weights,), fit_intercept=False)), RowNorm(1.0))
        9.0
    """
    free = _free_rows(penalty, risk.n_features)
    point = (risk.without(free) if len(free) else risk).at(np.zeros((risk.n_features, risk.n_tasks)))
    return penalty.threshold(point.dual.G)


def path(
    risk: AnyRisk,
    penalties: Sequence[AnyPenalty],
    *,
    tol: float = 1e-6,
    max_iterations: int = 10_000,
    start: Solution | None = None,
) -> list[Solution]:
    """Minimise the risk with one penalty after the other, each from the solution of the last.

    Args:
        risk: of the data.
        penalties: from strong to weak.
        tol: as in :func:`solve`.
        max_iterations: as in :func:`solve`, for each penalty.
        start: a solution to begin with.

    Returns:
        a solution for each penalty.

    Example:
        >>> from taskloom.regularised import RowNorm, TaskData
        >>> X, y, weights = np.diag([3.0, 1.0]), np.array([3.0, 0.5]), np.ones(2)
        >>> risk = SquaredRisk(TaskData((X,), (y,), (weights,), fit_intercept=False))
        >>> [int(np.count_nonzero(s.coefficients)) for s in path(risk, [RowNorm(9.0), RowNorm(1.0), RowNorm(0.1)])]
        [0, 1, 2]
    """
    solutions = []
    for penalty in penalties:
        start = solve(risk, penalty, tol=tol, max_iterations=max_iterations, start=start)
        solutions.append(start)
    return solutions
