"""Logistic risk of tasks whose coefficients are near in the sense of optimal transport between features.

Newton's method with the penalty kept as it is: at the coefficients reached, the risk is replaced by least squares with
the same gradient and curvature, which :func:`taskloom.regularised.transport.solve_transport` solves through the dual.
That gives the value of the penalty at its solution as well (objective less loss), which has no formula of its own. On
the way there the penalty is at most the mean of its values at both ends, since it is convex; so the objective is never
said to be smaller than it is, and it is exact after a full step. The bound from below comes from the conjugate.

Source:
    Lee, Sun, Saunders, "Proximal Newton-type methods for minimizing composite functions", SIAM J. Optim. 2014.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from taskloom.regularised.certificate import DualPoint
from taskloom.regularised.data import Array, Solution
from taskloom.regularised.logistic_risk import LogisticPoint, LogisticRisk
from taskloom.regularised.newton import expanded
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.transport import TransportConjugate, TransportSolution, solve_transport

__all__ = ["solve_logistic_transport"]

_FLATTEST = 1e-3  # second derivatives below this share of the first ones are raised to it: targets stay near
_FORCING = (1e-2, 1e-4, 1e-6)  # gap of least squares, as a share of the gap; the smaller ones where steps help little
_FAST = 0.25  # a step that leaves more of the gap than this helped little
_SMALLEST_GAP = 1e-13  # of least squares, as a share of its value without coefficients: below is rounding
_LEAST_SQUARES_STEPS = 2000
_DECREASE = 1e-4  # share of the predicted decrease that a step has to reach
_SHORTEST = 1e-8
_MOST_STALLS = 8  # steps after which the gap is no smaller: it is at rounding
_ROUNDING = 4 * float(np.finfo(np.float64).eps)


class _Reached(NamedTuple):
    A: Array  # (d, T)
    penalty: float  # never below its value at A
    point: LogisticPoint

    @property
    def objective(self) -> float:
        return self.point.loss + self.penalty


def solve_logistic_transport(
    risk: LogisticRisk, conjugate: TransportConjugate, *, tol: float = 1e-6, max_iterations: int = 10_000
) -> TransportSolution:
    """Minimise logistic risk plus the penalty.

    Args:
        risk: of the data.
        conjugate: of the penalty.
        tol: gap, as a fraction of the risk without coefficients.
        max_iterations: Newton steps at most.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, weights = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([-1.0, 1.0, -1.0, 1.0]), np.full(4, 0.25)
        >>> conjugate = TransportConjugate(np.zeros((1, 1)), 0.01, 0.01, 0.1, 1.0)
        >>> found = solve_logistic_transport(LogisticRisk(TaskData((X,), (y,), (weights,))), conjugate, tol=1e-10)
        >>> found.solution.converged, bool(found.solution.coefficients[0, 0] > 0)
        (True, True)
    """
    nothing = np.zeros((risk.n_features, risk.n_tasks))
    reached = _Reached(nothing, 0.0, risk.at(nothing))
    target = tol * reached.point.loss
    least, smallest, last = -np.inf, np.inf, np.inf
    iteration, stalls, level = 0, 0, 0
    while True:
        bound = _lower_bound(reached.point.dual, conjugate)
        least = max(least, bound.value)
        gap = reached.objective - least
        stalls, smallest = (0, gap) if gap < smallest else (stalls + 1, smallest)
        is_done = gap <= target or iteration == max_iterations or stalls == _MOST_STALLS
        level, last = min(level + (gap > _FAST * last), len(_FORCING) - 1), gap
        following = None if is_done else _step(risk, conjugate, reached, gap, level)
        if following is None:
            break
        reached, iteration = following, iteration + 1
    solution = Solution(
        (reached.A,), risk.intercepts(reached.A), reached.objective, gap, iteration, converged=gap <= target
    )
    return TransportSolution(solution, bound.common)


def _step(
    risk: LogisticRisk, conjugate: TransportConjugate, reached: _Reached, gap: float, level: int
) -> _Reached | None:
    """The longest of the steps 1, 1/2, 1/4, ... to the solution of least squares that lowers the objective enough.

    Least squares is solved better where no step does; None if that does not help either.
    """
    point = reached.point
    curved = replace(point, curvatures=np.maximum(point.curvatures, _FLATTEST * np.abs(point.pulls)))
    expansion = SquaredRisk(expanded(risk, curved))
    half = expansion.least_squares.square / 2
    for share in _FORCING[level:]:
        tol = max(share * gap / half, _SMALLEST_GAP) if half > 0 else 1.0
        found = solve_transport(expansion, conjugate, tol=tol, max_iterations=_LEAST_SQUARES_STEPS).solution
        goal = found.coefficients
        following = _towards(risk, reached, goal, found.objective - expansion.at(goal).loss)
        if following is not None:
            return following
    return None


def _towards(risk: LogisticRisk, reached: _Reached, goal: Array, penalty: float) -> _Reached | None:
    difference, rounding = goal - reached.A, _ROUNDING * abs(reached.objective)
    predicted = penalty - reached.penalty - float(np.vdot(reached.point.dual.G, difference))
    if predicted >= rounding or not difference.any():
        return None
    length = 1.0
    while length >= _SHORTEST:
        A = goal if length == 1 else reached.A + length * difference
        value = penalty if length == 1 else reached.penalty + length * (penalty - reached.penalty)
        candidate = _Reached(A, value, risk.at(A))
        if candidate.objective <= reached.objective + _DECREASE * length * predicted + rounding:
            return candidate
        length /= 2
    return None


class _Bound(NamedTuple):
    value: float
    common: Array  # (2, d) the common masses that belong to the gradients


def _lower_bound(dual: DualPoint, conjugate: TransportConjugate) -> _Bound:
    """The largest dual value that a scaling of the dual point gives."""
    at_zero = 2 * conjugate.half(np.zeros(dual.G.T.shape)).value

    def scaled(factor: float) -> _Bound:
        up, down = (conjugate.half(sign * factor * dual.G.T) for sign in (1.0, -1.0))
        value = dual.data(factor) - (up.value + down.value - at_zero)
        return _Bound(value, np.stack([up.common, down.common]))

    as_it_is = scaled(1.0)
    if as_it_is.value > 0:  # the value without gradients
        return as_it_is
    found = minimize_scalar(lambda factor: -max(scaled(factor).value, -1e300), bounds=(0.0, 1.0), method="bounded")
    return scaled(found.x) if -found.fun > 0 else scaled(0.0)
