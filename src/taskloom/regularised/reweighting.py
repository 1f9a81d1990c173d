"""Least squares with one Gram matrix and a penalty that is the smallest of many quadratic ones: each of them in turn.

    Omega(A) = min over the precisions Q of  tr(A Q A') / 2

At some coefficients one precision is the smallest; with it the coefficients solve a linear system,
``H A + A Q = r``, which the eigenvectors of H and of Q take apart into numbers; and so on. Neither step raises the
objective. Where the data say more than the penalty a few turns suffice, whatever the condition of H, which first-order
methods pay for with thousands of iterations.

Source:
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", Mach. Learn. 2008 (for another set of precisions).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from taskloom.regularised._least_squares import LeastSquares
from taskloom.regularised._measure import measure
from taskloom.regularised._resolvent import Resolvent
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.spectral_box import SpectralBox
from taskloom.regularised.working_set import Reached

__all__ = ["solve_by_reweighting"]

Parts: TypeAlias = tuple[Array, ...]

_MOST_TURNS = 100
_MOST_STALLS = 3  # turns without progress: the gap is at rounding


def solve_by_reweighting(
    problem: LeastSquares, penalty: SpectralBox, *, resolvent: Resolvent, start: Parts, target: float
) -> Reached:
    """Minimise by turns.

    Args:
        problem: least squares with one Gram matrix for all tasks.
        penalty: whose precisions have bounded eigenvalues.
        resolvent: eigenvectors of the Gram matrix.
        start: coefficients to begin with, shape (d, T).
        target: gap to stop at. Turns may end above it.
    """
    measured = measure(problem.at(start[0]), penalty, start)
    best, reached, bound = measured.objective, start, measured.bound
    A, turn, stalls = start[0], 0, 0
    while best - bound > target and turn < _MOST_TURNS and stalls < _MOST_STALLS:
        turn += 1
        strengths, directions = np.linalg.eigh(penalty.precision(A))
        A = (directions @ resolvent.solve_each((problem.r @ directions).T, strengths)).T
        measured = measure(problem.at(A), penalty, (A,))
        stalls = 0 if measured.bound > bound or measured.objective < best else stalls + 1
        bound = max(bound, measured.bound)
        if measured.objective < best:
            best, reached = measured.objective, (A,)
    return Reached(reached, best, best - bound, turn)
