"""Deal whole groups out to three parts, at random and close to the wanted fractions."""

from __future__ import annotations

import numpy as np

from taskloom.data._parts import Units
from taskloom.errors import DataError

__all__ = ["assign_groups"]

_TRIES = 500
_CLOSE = 0.02  # a part may miss its fraction by 2 % of all rows before other orders are tried


def assign_groups(
    units: Units, groups: np.ndarray, fractions: tuple[float, float, float], random: np.random.Generator
) -> np.ndarray:
    """Part of each row.

    Args:
        units: what every part needs.
        groups: (n,) group of each row.
        fractions: shares of the parts in rows.
        random: generator of the split.

    Returns:
        int64 (n,): 0 train, 1 validation, 2 test, 3 for rows without any label.

    Raises:
        DataError: fewer than three groups, or a task whose labelled rows lie in fewer than three groups.
    """
    rows = units.labelled_rows
    _, member, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
    n_groups = len(sizes)
    if n_groups < 3:
        raise DataError(
            f"a grouped split needs at least three groups with labelled rows, found {n_groups}; all rows of a group "
            "are in one "
            "part. Take another group column, or a RandomSplit"
        )
    _check_spread(units, groups)
    wanted = np.asarray(fractions) * len(rows)
    part = np.full(len(groups), 3)
    best: tuple[tuple[int, float, float], np.ndarray] | None = None
    for _ in range(_TRIES):
        of_group = _cut(random.permutation(n_groups), sizes, wanted)
        part[rows] = of_group[member]
        counts = units.counts(part)
        broken = int((units.needed & (counts == 0)).sum())
        missed = float((units.wanted & (counts == 0)).sum())
        distance = float(np.abs(np.bincount(of_group, weights=sizes, minlength=3) - wanted).max() / len(rows))
        score = (broken, missed, max(distance, _CLOSE))
        if best is None or score < best[0]:
            best = (score, of_group)
        if score == (0, 0.0, _CLOSE):
            break
    assert best is not None
    part[rows] = best[1][member]
    return part


def _cut(order: np.ndarray, sizes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Cut a sequence of groups in three where the rows so far come closest to what is wanted."""
    until = np.cumsum(sizes[order])
    first = int(np.argmin(np.abs(until[:-2] - wanted[0])))
    second = first + 1 + int(np.argmin(np.abs(until[first + 1 : -1] - wanted[0] - wanted[1])))
    of_group = np.empty(len(order), dtype=np.int64)
    of_group[order[: first + 1]] = 0
    of_group[order[first + 1 : second + 1]] = 1
    of_group[order[second + 1 :]] = 2
    return of_group


def _check_spread(units: Units, groups: np.ndarray) -> None:
    """Every task must have labelled rows in at least three groups."""
    pairs = np.unique(np.stack([units.units, groups[units.rows]]), axis=1)
    spread = np.bincount(pairs[0], minlength=len(units.names))
    for unit in np.flatnonzero(units.needed.all(axis=1) & (spread < 3)):
        task = units.names[unit][0]
        raise DataError(
            f"the labelled rows of task {task!r} ({int(units.totals()[unit])}) lie in {int(spread[unit])} groups; a "
            "group is "
            "never divided, so that train, validation and test need at least three. Take another group column, a "
            "RandomSplit, "
            "or leave the task out"
        )
