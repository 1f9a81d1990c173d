"""Any smooth risk with any penalty that has a proximal operator: accelerated proximal gradients (FISTA).

    Z <- A + momentum (A - A_last),   A <- prox of step Omega at Z + step G(Z)

with a step of one over the curvature of the risk, for K parts over K times it. The momentum is given up whenever it
points uphill, which makes the method as fast on well-conditioned problems as on others.

Source:
    Beck, Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems", SIAM J. Imaging
    Sci. 2009; restart: O'Donoghue, Candès, "Adaptive restart for accelerated gradient schemes", Found. Comput. Math.
    2015.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from taskloom.regularised._measure import AnyPenalty, measure, total
from taskloom.regularised.certificate import RiskPoint
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupled import Coupled
from taskloom.regularised.penalties.part_sum import parts_of
from taskloom.regularised.working_set import Reached

__all__ = ["solve_by_proximal_gradient"]

Parts: TypeAlias = tuple[Array, ...]

_MEASURE_EVERY = 10
_MOST_STALLS = 200  # measurements without progress: the gap is at rounding


def solve_by_proximal_gradient(
    at: Callable[[Array], RiskPoint],
    penalty: AnyPenalty,
    *,
    curvature: float,
    start: Parts,
    target: float,
    max_iterations: int,
) -> Reached:
    """Minimise by accelerated proximal gradients.

    Args:
        at: the risk at coefficients, shape (d, T).
        penalty: a penalty, one for each part, or one with a coupling.
        curvature: no direction of the risk is more curved.
        start: coefficients to begin with, shapes (d, T).
        target: gap to stop at.
        max_iterations: most iterations.
    """
    coupling = penalty.coupling if isinstance(penalty, Coupled) else None
    penalties = (penalty.penalty,) if isinstance(penalty, Coupled) else parts_of(penalty)
    if coupling is not None:
        curvature += max(coupling.base, float(coupling.values.max(initial=0.0)))
    step = 1 / (curvature * len(start)) if curvature > 0 else 1.0
    measured = measure(at(total(start)), penalty, start)
    best, reached, bound = measured.objective, start, measured.bound
    parts, ahead, t = start, start, 1.0
    stalls, iteration = 0, 0
    while measured.objective - bound > target and iteration < max_iterations and stalls < _MOST_STALLS:
        iteration += 1
        where = total(ahead)
        G = at(where).dual.G
        if coupling is not None:
            G = G - coupling.times(where)
        following = tuple(each.prox(z + step * G, step) for each, z in zip(penalties, ahead, strict=True))
        uphill = sum(float(np.vdot(z - new, new - old)) for z, new, old in zip(ahead, following, parts, strict=True))
        t_next = 1.0 if uphill > 0 else (1 + np.sqrt(1 + 4 * t * t)) / 2
        momentum = 0.0 if uphill > 0 else (t - 1) / t_next
        ahead = tuple(new + momentum * (new - old) for new, old in zip(following, parts, strict=True))
        parts, t = following, t_next
        if iteration % _MEASURE_EVERY == 0:
            measured = measure(at(total(parts)), penalty, parts)
            stalls = 0 if measured.bound > bound or measured.objective < best else stalls + 1
            bound = max(bound, measured.bound)
            if measured.objective <= max(best, bound + target):  # at the end the last one, whose own bound is best
                best, reached = measured.objective, parts
    return Reached(reached, best, best - bound, iteration)
