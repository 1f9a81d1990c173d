"""Least squares with any penalties that have proximal operators, in one part or several: splitting (ADMM).

For ``A = sum_k P_k`` with penalties ``Omega_k`` the least squares and the penalties are minimised in turn, each with a
quadratic term that draws them together:

    V_k = Z_k - U_k,   S = argmin loss(S) + rho / (2 K) ||S - sum_k V_k||^2,   P_k = V_k + (S - sum_k V_k) / K
    P_k <- 1.6 P_k - 0.6 Z_k,   Z_k = prox of Omega_k / rho at P_k + U_k,   U_k <- U_k + P_k - Z_k

One eigendecomposition per Gram matrix makes the first of them a product. The parts Z have the exact zeros and the exact
ranks; the certificate is that of the Z, with the better of the dual points of Z and S.

Source:
    Boyd, Parikh, Chu, Peleato, Eckstein, "Distributed optimization and statistical learning via the alternating
    direction method of multipliers", 2011, sections 3.4 and 7.3 (sharing).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from taskloom.regularised._least_squares import LeastSquares
from taskloom.regularised._measure import Measured, measure, total
from taskloom.regularised._resolvent import Resolvent
from taskloom.regularised.certificate import lower_bound
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.part_sum import PartSum, parts_of
from taskloom.regularised.working_set import Reached

__all__ = ["solve_by_splitting"]

Parts: TypeAlias = tuple[Array, ...]

_RELAXATION = 1.6
_START = 0.05  # rho at the start, as a share of the median of the largest eigenvalues
_BALANCE, _UNBALANCED = 1.7, 4.0  # change of rho, and the ratio of the residuals that calls for it
_BALANCE_EVERY = 100
_MEASURE_EVERY = 10
_MOST_STALLS = 100  # measurements without progress: the gap is at rounding


def solve_by_splitting(
    problem: LeastSquares,
    penalty: Penalty | PartSum,
    *,
    start: Parts,
    target: float,
    max_iterations: int,
    resolvent: Resolvent | None = None,
) -> Reached:
    """Minimise by splitting.

    Args:
        problem: least squares; its Gram matrices fit into memory.
        penalty: a penalty, or one for each part.
        start: coefficients to begin with, shapes (d, T).
        target: gap to stop at.
        max_iterations: most iterations.
        resolvent: eigendecompositions of the problem, if they are known.
    """
    resolvent = resolvent or Resolvent(problem)
    penalties, n_parts = parts_of(penalty), len(start)
    rho = _START * n_parts * float(np.median(resolvent.largest)) or 1.0
    measured = measure(problem.at(total(start)), penalty, start)
    best, reached, bound = measured.objective, start, measured.bound
    Z = [np.ascontiguousarray(part.T) for part in start]  # (T, d)
    U = [_feasible(each, measured.G).T / rho for each in penalties]
    r = np.ascontiguousarray(problem.r.T)
    stalls, iteration = 0, 0
    while measured.objective - bound > target and iteration < max_iterations and stalls < _MOST_STALLS:
        iteration += 1
        V = [z - u for z, u in zip(Z, U, strict=True)]
        sum_of_V = total(V)
        S = resolvent.solve(r + rho / n_parts * sum_of_V, rho / n_parts)
        share = (S - sum_of_V) / n_parts
        primal, dual = 0.0, 0.0
        for k, each in enumerate(penalties):
            P = _RELAXATION * (V[k] + share) + (1 - _RELAXATION) * Z[k] + U[k]
            moved = each.prox(P.T, 1 / rho).T
            U[k] = P - moved
            primal += float(((V[k] + share - moved) ** 2).sum())
            dual += float(((moved - Z[k]) ** 2).sum())
            Z[k] = moved
        if iteration % _MEASURE_EVERY == 0:
            parts = tuple(z.T for z in Z)
            measured = measure(problem.at(total(parts)), penalty, parts)
            higher = max(measured.bound, _bound_of_sum(problem, penalty, S, measured))
            stalls = 0 if higher > bound or measured.objective < best else stalls + 1
            bound = max(bound, higher)
            if measured.objective <= max(best, bound + target):  # at the end the last one, whose own bound is best
                best, reached = measured.objective, parts
        if iteration % _BALANCE_EVERY == 0 and 2 * iteration <= max_iterations:
            factor = _balance(np.sqrt(primal), rho * np.sqrt(dual))
            rho *= factor
            U = [u / factor for u in U]
    return Reached(reached, best, best - bound, iteration)


def _feasible(penalty: Penalty, G: Array) -> Array:
    """Gradients made small enough for the polar ball of a norm: a subgradient of the penalty to begin with."""
    return G / max(1.0, penalty.gauge(G))


def _bound_of_sum(problem: LeastSquares, penalty: Penalty | PartSum, S: Array, measured: Measured) -> float:
    """The lower bound that the minimiser of the smooth part gives."""
    point = problem.at(S.T)
    return lower_bound(point.dual, penalty, A=S.T)


def _balance(primal: float, dual: float) -> float:
    if primal > _UNBALANCED * dual:
        return _BALANCE
    return 1 / _BALANCE if dual > _UNBALANCED * primal else 1.0
