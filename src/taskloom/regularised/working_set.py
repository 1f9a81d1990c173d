"""Solving on a few rows at a time: those that are not 0, and those nearest to leaving 0.

For penalties that are sums over rows most rows are 0 at the solution. A solver works on a set of rows, the rest stays
0; the gradients of all rows then say which rows are missing and what the duality gap is. The set at least doubles with
the support, so that few rounds, each of one pass over the data, find all of it.

Source:
    Massias, Gramfort, Salmon, "Celer: a fast solver for the lasso with dual extrapolation", ICML 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised._measure import AnyPenalty, Measured, measure, total
from taskloom.regularised.certificate import RiskPoint
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import RowSeparable
from taskloom.regularised.penalties.coupled import Coupled
from taskloom.regularised.penalties.elastic import Elastic
from taskloom.regularised.penalties.part_sum import PartSum

__all__ = ["Reached", "is_separable", "restricted", "row_thresholds", "solve_on_working_sets"]

Rows: TypeAlias = NDArray[np.intp]
Parts: TypeAlias = tuple[Array, ...]

_FEWEST = 20  # rows of the first set, and rows that are added at once
_MOST_AT_FIRST = 100
_GROWTH = 2  # times the support
_QUICK_GROWTH = 5  # times the support where the last set was too small for it
_FEW, _NEARLY_ALL = 600, 0.6  # of so few rows such a share is rounded up to all of them
_INNER = 0.3  # the gap on the set, as a share of the gap on all rows
_MOST_KEPT = 1000  # rows of a set that is never made smaller
_MOST_STALLS = 4  # rounds without progress: the gap is at rounding


@dataclass(frozen=True)
class Reached:
    """Where a solver ended.

    Args:
        parts: coefficients, shapes (d, T).
        objective: risk plus penalty.
        gap: certified distance from the smallest objective.
        n_iterations: passes over the rows.
    """

    parts: Parts
    objective: float
    gap: float
    n_iterations: int


def row_thresholds(penalty: AnyPenalty, G: Array) -> Array:
    """How strong the penalty of every row has to be for the row to stay 0, shape (d,); below 1 it stays."""
    if isinstance(penalty, PartSum):
        thresholds: Array = np.max([part.row_thresholds(G) for part in penalty.penalties if is_separable(part)], axis=0)
        return thresholds
    assert is_separable(penalty)
    return penalty.row_thresholds(G)


def is_separable(penalty: AnyPenalty) -> TypeGuard[RowSeparable]:
    """Whether a penalty of one part is a sum over rows."""
    return hasattr(penalty, "row_thresholds")


def restricted(penalty: AnyPenalty, rows: Rows) -> AnyPenalty:
    """The penalty of some rows."""
    if isinstance(penalty, PartSum):
        return PartSum(tuple(part.rows(rows) for part in penalty.penalties if is_separable(part)))
    assert is_separable(penalty)
    return penalty.rows(rows)


def solve_on_working_sets(
    at: Callable[[Array], RiskPoint],
    penalty: AnyPenalty,
    *,
    start: Parts,
    solve_rows: Callable[[Rows, Parts, Measured, float], tuple[Parts, int]],
    target: float,
    max_iterations: int,
    first: Callable[[Array], int] | None = None,
) -> Reached:
    """Rounds of a solver on sets of rows until the gap on all rows is at most the target.

    Args:
        at: the risk at coefficients, shape (d, T).
        penalty: a sum over rows.
        start: coefficients to begin with, shapes (d, T).
        solve_rows: from rows (m,), the coefficients in them, shapes (m, T), what was measured last, and a gap, to
            better coefficients in these rows and the number of passes made.
        target: gap to stop at.
        max_iterations: most passes.
        first: from the thresholds of the rows to the size of the first set; by default as many as do not stay 0, at
            most 100, and all rows where there are no more than that.
    """
    parts, working, n_rows = start, np.zeros(0, dtype=np.intp), len(start[0])
    bound, last_gap, made, stalls = -np.inf, np.inf, 0, 0
    is_norm = not isinstance(penalty, Elastic | Coupled)  # its gauge is the largest of the thresholds
    while True:
        point = at(total(parts))
        thresholds = row_thresholds(penalty, point.dual.G)
        measured = measure(point, penalty, parts, gauge=float(thresholds.max(initial=0.0)) if is_norm else None)
        bound = max(bound, measured.bound)
        gap = measured.objective - bound
        stalls = stalls + 1 if gap > 0.9 * last_gap else 0
        if gap <= target or made >= max_iterations or stalls >= _MOST_STALLS:
            return Reached(parts, measured.objective, gap, made)
        last_gap = gap
        wanted = _choose(thresholds, parts, working, first or _first_size, may_shrink=stalls == 0)
        is_complete = len(wanted) in (n_rows, len(working))
        working = wanted
        inner = max(0.5 * target if is_complete else _INNER * gap, 0.0)
        found, passes = solve_rows(working, tuple(part[working] for part in parts), measured, inner)
        parts = tuple(_filled(part, working, rows) for part, rows in zip(parts, found, strict=True))
        made += passes


def _first_size(thresholds: Array) -> int:
    n_rows = len(thresholds)
    return n_rows if n_rows <= _MOST_AT_FIRST else min(int(np.count_nonzero(thresholds > 1)), _MOST_AT_FIRST)


def _choose(thresholds: Array, parts: Parts, working: Rows, first: Callable[[Array], int], *, may_shrink: bool) -> Rows:
    """The rows to work on next: those of the last set, so that what is known about them stays of use, and more.

    Of a large set that the support does not need, the rows that are 0 may leave.
    """
    n_rows = len(thresholds)
    if len(working) == 0 and not any(part.any() for part in parts):
        return _highest(thresholds, max(first(thresholds), _FEWEST))
    inside = np.zeros(n_rows, dtype=bool)
    inside[working] = True
    n_missing = int(np.count_nonzero((thresholds > 1) & ~inside))
    if len(working) and n_missing == 0:
        return working
    support = np.zeros(n_rows, dtype=bool)
    for part in parts:
        support |= part.any(axis=1)
    n_support = int(np.count_nonzero(support))
    if len(working) == 0:
        size = max(first(thresholds), _FEWEST)
    elif may_shrink and len(working) > max(_MOST_KEPT, 2 * n_support):
        size, working = _GROWTH * n_support + min(n_missing, _GROWTH * n_support), np.flatnonzero(support)
        inside = support.copy()
    else:
        quick = min(_QUICK_GROWTH * n_support, max(_MOST_KEPT, len(working) + _GROWTH * n_missing))
        size = max(_GROWTH * n_support, quick if 2 * n_support > len(working) else 0)
    inside |= support
    n_inside = int(np.count_nonzero(inside))
    if _is_rounded_up(size, n_rows):
        return np.arange(n_rows)
    room = max(size - n_inside, min(n_missing, max(_FEWEST, n_support)))
    order = np.where(inside, np.inf, -thresholds)
    n_new = min(room, n_rows - n_inside)
    new = np.argpartition(order, n_new - 1)[:n_new] if n_new else np.zeros(0, dtype=np.intp)
    new.sort()
    inside[working] = False  # what is left are rows of the support
    return np.concatenate([working, np.flatnonzero(inside), new])


def _highest(thresholds: Array, size: int) -> Rows:
    if size >= len(thresholds) or _is_rounded_up(size, len(thresholds)):
        return np.arange(len(thresholds))
    return np.sort(np.argpartition(-thresholds, size - 1)[:size])


def _is_rounded_up(size: int, n_rows: int) -> bool:
    return n_rows <= _FEW and size >= _NEARLY_ALL * n_rows


def _filled(part: Array, working: Rows, rows: Array) -> Array:
    result = np.zeros(part.shape[::-1])
    result[:, working] = rows.T
    return result.T  # tasks first in memory
