"""Swap single rows between parts until every requirement of a split holds; sizes of parts stay as they are."""

from __future__ import annotations

import numpy as np

from taskloom.data._parts import Units

__all__ = ["repair"]

_MOST_SWAPS = 500


def repair(units: Units, part: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Give a unit that a part lacks one of its rows, in exchange for a row that the part can spare.

    Args:
        units: the requirements.
        part: (n,) part of each row, 3 = in no part.
        order: labelled rows in a random order; earlier rows are taken first.

    Returns:
        parts after the swaps; requirements that no swap can meet are left as they are.
    """
    fixed = part.copy()
    rank = np.full(len(part), len(part))
    rank[order] = np.arange(len(order))
    given_up: set[tuple[int, int]] = set()
    for _ in range(_MOST_SWAPS):
        counts = units.counts(fixed)
        lacking = [(int(unit), int(place)) for unit, place in np.argwhere(units.wanted & (counts == 0))]
        lacking = sorted((pair for pair in lacking if pair not in given_up), key=lambda pair: not units.needed[pair])
        if not lacking:
            break
        if not _swap(units, fixed, counts, rank, *lacking[0]):
            given_up.add(lacking[0])
    return fixed


def _swap(units: Units, part: np.ndarray, counts: np.ndarray, rank: np.ndarray, unit: int, place: int) -> bool:
    hard = bool(units.needed[unit, place])
    claims = units.needed if hard else units.wanted
    # a row may leave part q unless one of its units is required there and has no other row there
    last = claims & (counts == 1)  # (units, 3)
    entry_part = part[units.rows]
    inside = entry_part < 3
    held = np.zeros(len(part), dtype=bool)
    held[units.rows[inside][last[units.units[inside], entry_part[inside]]]] = True
    members = units.rows[units.units == unit]
    givers = members[(part[members] < 3) & (part[members] != place) & ~held[members]]
    if not len(givers):
        return False
    supply = counts[unit][part[givers]]
    giver = givers[np.lexsort((rank[givers], -supply))[0]]
    takers = np.flatnonzero((part == place) & ~held)
    if not len(takers):
        return False
    taker = takers[np.argmin(rank[takers])]
    part[giver], part[taker] = place, part[giver]
    return True
