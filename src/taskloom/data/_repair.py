"""Swap single rows between parts until every requirement of a split holds; sizes of parts stay as they are."""

from __future__ import annotations

import numpy as np

from taskloom.data._parts import Units

__all__ = ["repair"]

_MOST_SWAPS = 500
_MOST_CANDIDATES = 200
_NEEDED = 1000.0  # one needed place outweighs all places that are only wanted


def repair(units: Units, part: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Give a unit that a part lacks one of its rows, in exchange for a row that the part can spare.

    Every swap makes the sum of gaps smaller, so that the search ends.

    Args:
        units: the requirements.
        part: (n,) part of each row, 3 = in no part.
        order: labelled rows in a random order; earlier rows are taken first.

    Returns:
        parts after the swaps; gaps that no single swap can close are left as they are.
    """
    fixed = part.copy()
    rank = np.full(len(part), len(part))
    rank[order] = np.arange(len(order))
    weight = np.where(units.needed, _NEEDED, units.wanted.astype(np.float64))  # (units, 3)
    given_up: set[tuple[int, int]] = set()
    for _ in range(_MOST_SWAPS):
        counts = units.counts(fixed)
        gaps = [(int(unit), int(place)) for unit, place in np.argwhere((weight > 0) & (counts == 0))]
        gaps = sorted((gap for gap in gaps if gap not in given_up), key=lambda gap: -weight[gap])
        if not gaps:
            break
        if _swap(units, fixed, counts, weight, rank, *gaps[0]):
            given_up.clear()
        else:
            given_up.add(gaps[0])
    return fixed


def _swap(
    units: Units, part: np.ndarray, counts: np.ndarray, weight: np.ndarray, rank: np.ndarray, unit: int, place: int
) -> bool:
    """Make the best swap that brings a row of ``unit`` into part ``place``, if one lessens the gaps."""
    members = units.rows[units.units == unit]
    takers = _first(np.flatnonzero(part == place), rank)
    best, chosen = -1e-9, None
    for source in range(3):
        givers = _first(members[part[members] == source], rank)
        if source == place or not len(givers) or not len(takers):
            continue
        leaves = weight[:, source] * (counts[:, source] == 1) - weight[:, place] * (counts[:, place] == 0)  # (units,)
        returns = weight[:, place] * (counts[:, place] == 1) - weight[:, source] * (counts[:, source] == 0)
        G, T = _membership(units, givers), _membership(units, takers)  # (givers, units), (takers, units)
        # a unit that both rows belong to does not change
        change = (G @ leaves)[:, None] - (G * leaves) @ T.T + (T @ returns)[None, :] - G @ (T * returns).T
        giver, taker = np.unravel_index(np.argmin(change), change.shape)
        if change[giver, taker] < best:
            best, chosen = float(change[giver, taker]), (givers[giver], takers[taker])
    if chosen is None:
        return False
    part[chosen[0]], part[chosen[1]] = part[chosen[1]], part[chosen[0]]
    return True


def _first(rows: np.ndarray, rank: np.ndarray) -> np.ndarray:
    return rows[np.argsort(rank[rows])][:_MOST_CANDIDATES]


def _membership(units: Units, rows: np.ndarray) -> np.ndarray:
    """Which units each row belongs to, (rows, units) of 0 and 1."""
    place_of = np.full(int(units.rows.max()) + 1, -1)
    place_of[rows] = np.arange(len(rows))
    places = place_of[units.rows]
    member = np.zeros((len(rows), len(units.names)))
    member[places[places >= 0], units.units[places >= 0]] = 1.0
    return member
