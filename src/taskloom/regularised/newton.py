"""Logistic risk with a penalty: Newton's method on the risk, with the penalty kept as it is.

At the coefficients reached, the risk is replaced by its second-order expansion: least squares with the weights
``weight loss''`` and targets that reproduce the gradient. Its minimiser with the penalty is the point to go to, as far
as the objective falls. Least squares is solved only as well as the gap calls for. If no step helps, accelerated
proximal gradients take over.

Source:
    Lee, Sun, Saunders, "Proximal Newton-type methods for minimizing composite functions", SIAM J. Optim. 2014.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised._measure import AnyPenalty, Measured, measure, total, value_of
from taskloom.regularised.data import Array, TaskData
from taskloom.regularised.least_squares import curvature_of, solve_least_squares
from taskloom.regularised.logistic_risk import LogisticPoint, LogisticRisk
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.proximal_gradient import solve_by_proximal_gradient
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.working_set import Reached, is_separable, restricted, solve_on_working_sets

__all__ = ["expanded", "solve_logistic"]

Rows: TypeAlias = NDArray[np.intp]
Parts: TypeAlias = tuple[Array, ...]

_FLATTEST = 1e-7  # second derivatives below this share of the weight are raised to it: targets stay finite
_FORCING = (0.1, 1e-3, 1e-6)  # gap of the expansion, as a share of the gap; the smaller ones where steps help little
_FAST = 0.25  # a step that leaves more of the gap than this helped little
_LIMITING = 0.01  # the gap of the expansion that may be why, as a share of what the step left
_DECREASE = 1e-4  # share of the predicted decrease that a step has to reach
_SHORTEST = 1e-8
_ROUNDING = 4 * float(np.finfo(np.float64).eps)  # of objectives, relative: a full step may seem to raise them by this
_MOST_STALLS = 8  # iterations that improve neither objective nor bound: the gap is at rounding, and each costs a lot
_MANY_ROWS = 40  # rows from which working sets pay


def solve_logistic(
    risk: LogisticRisk, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Minimise logistic risk plus a penalty.

    Args:
        risk: logistic risk.
        penalty: what is added.
        start: coefficients to begin with, shapes (d, T).
        target: gap to stop at.
        max_iterations: most iterations of Newton's method, on working sets those of all sets together.
    """
    separable = penalty.penalties if isinstance(penalty, PartSum) else (penalty,)
    if risk.n_features < _MANY_ROWS or len(risk.free) or not all(is_separable(part) for part in separable):
        return _newton(risk, penalty, start=start, target=target, max_iterations=max_iterations)

    def solve_rows(rows: Rows, parts: Parts, measured: Measured, inner: float) -> tuple[Parts, int]:
        data = risk.data
        designs = (data.designs[0][:, rows],) * data.n_tasks if data.is_shared else [X[:, rows] for X in data.designs]
        few = LogisticRisk(TaskData(tuple(designs), data.targets, data.weights, data.fit_intercept))
        reached = _newton(few, restricted(penalty, rows), start=parts, target=inner, max_iterations=max_iterations)
        return reached.parts, reached.n_iterations

    return solve_on_working_sets(
        risk.at, penalty, start=start, solve_rows=solve_rows, target=target, max_iterations=max_iterations
    )


def _newton(risk: LogisticRisk, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int) -> Reached:
    parts, bound, least, stalls = start, -np.inf, np.inf, 0
    level, last_gap, last_inner = 0, np.inf, np.inf
    point = risk.at(total(parts))
    for iteration in range(max_iterations + 1):
        measured = measure(point, penalty, parts)
        stalls = 0 if measured.bound > bound or measured.objective < least else stalls + 1
        bound, least = max(bound, measured.bound), min(least, measured.objective)
        gap = measured.objective - bound
        if gap <= target or iteration == max_iterations or stalls == _MOST_STALLS:
            break
        if gap > _FAST * last_gap and last_inner > _LIMITING * gap:  # else the expansion does not hold so far away
            level = min(level + 1, len(_FORCING) - 1)
        last_gap = gap
        expansion = SquaredRisk(expanded(risk, point), risk.free).least_squares
        found = None
        for share in _FORCING[level:]:
            reached = solve_least_squares(
                expansion, penalty, start=parts, target=share * gap, max_iterations=max_iterations
            )
            last_inner, found = reached.gap, _step(risk, penalty, parts, reached.parts, measured)
            if found is not None:
                break
        if found is None:
            reached = solve_by_proximal_gradient(
                risk.at, penalty, curvature=_curvature(risk), start=parts, target=target,
                max_iterations=max_iterations,
            )  # fmt: skip
            best = max(bound, reached.objective - reached.gap)
            return Reached(reached.parts, reached.objective, reached.objective - best, iteration + reached.n_iterations)
        parts, point = found
    return Reached(parts, measured.objective, gap, iteration)


def expanded(risk: LogisticRisk, point: LogisticPoint) -> TaskData:
    """Least squares whose value and gradient at the point are those of the risk, up to a constant."""
    curvatures = np.maximum(point.curvatures, _FLATTEST * risk.weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        targets = point.predictors + np.where(curvatures > 0, point.pulls / curvatures, 0.0)
    return TaskData(
        risk.data.designs, tuple(risk.split(targets)), tuple(risk.split(curvatures)), risk.data.fit_intercept
    )


def _step(
    risk: LogisticRisk, penalty: AnyPenalty, parts: Parts, goal: Parts, measured: Measured
) -> tuple[Parts, LogisticPoint] | None:
    """The longest of the steps 1, 1/2, 1/4, ... towards the goal that lowers the objective; None if none does."""
    difference = total(goal) - total(parts)
    predicted = value_of(penalty, goal) - value_of(penalty, parts) - float(np.vdot(measured.G, difference))
    length, rounding = 1.0, _ROUNDING * abs(measured.objective)
    if predicted >= rounding or not difference.any():
        return None
    while length >= _SHORTEST:
        candidate = tuple(part + length * (other - part) for part, other in zip(parts, goal, strict=True))
        candidate = goal if length == 1 else candidate  # exact zeros stay exact
        point = risk.at(total(candidate))
        if point.loss + value_of(penalty, candidate) <= measured.objective + _DECREASE * length * predicted + rounding:
            return candidate, point
        length /= 2
    return None


def _curvature(risk: LogisticRisk) -> float:
    """No direction of the risk is more curved: a quarter of least squares with the weights themselves."""
    return curvature_of(SquaredRisk(risk.data, risk.free).least_squares) / 4
