"""Whose gradient it is: an edge of the graph carries that of one task, of one task per row, or of several mixed.

Two edges that carry gradients of different tasks and meet in one tensor make a mixed one, unless the tasks fill
different rows of it: the rows of several data sets in one batch, or the losses of all tasks in one stacked tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["MIXED", "NOBODY", "ByRow", "Owner", "join", "one_row", "runs_of", "settled"]

MIXED = -1
"""Owner of a gradient that several tasks may contribute to. Tasks are numbers from 0."""

NOBODY = -2
"""Owner of rows that no loss reaches."""


@dataclass(frozen=True)
class ByRow:
    """Row i, an index of the first or of another axis, belongs to one task.

    Args:
        runs: (task, number of rows) in order; neighbours differ. A tensor may have a multiple of these rows: then the
            rows of a run are repeated in place, as they are after ``(n, t, d) -> (n * t, d)``.
        axis: which axis.

    Example:
        >>> ByRow(((0, 2), (1, 3))).n_rows
        5
    """

    runs: tuple[tuple[int, int], ...]
    axis: int = 0

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return sum(length for _, length in self.runs)

    @property
    def tasks(self) -> set[int]:
        """Tasks that own a row."""
        return {task for task, _ in self.runs if task >= 0}

    def slices(self, size: int) -> Iterator[tuple[int, slice]]:
        """Tasks and their rows in a tensor whose axis has this size."""
        times, start = size // max(self.n_rows, 1), 0
        for task, length in self.runs:
            if task >= 0:
                yield task, slice(start * times, (start + length) * times)
            start += length

    def part(self, start: int, length: int, size: int) -> ByRow:
        """Whose rows some neighbouring ones of a tensor are whose axis has this size.

        Example:
            >>> ByRow(((0, 2), (1, 3))).part(3, 4, size=10)
            ByRow(runs=((0, 1), (1, 3)), axis=0)
        """
        times, begin = size // max(self.n_rows, 1), 0
        found = []
        for task, rows in self.runs:
            end = begin + rows * times
            found.append((task, max(min(end, start + length) - max(begin, start), 0)))
            begin = end
        return runs_of(found)


Owner = int | ByRow


def runs_of(tasks: Iterator[tuple[int, int]] | list[tuple[int, int]], axis: int = 0) -> ByRow:
    """Runs with equal neighbours put together and empty ones left out."""
    merged: list[tuple[int, int]] = []
    for task, length in tasks:
        if not length:
            continue
        if merged and merged[-1][0] == task:
            merged[-1] = (task, merged[-1][1] + length)
        else:
            merged.append((task, length))
    return ByRow(tuple(merged), axis)


def one_row(task: int, start: int, length: int, size: int) -> ByRow:
    """``length`` rows from ``start`` belong to a task, the others of ``size`` to nobody."""
    return runs_of([(NOBODY, start), (task, length), (NOBODY, size - start - length)])


def settled(owner: Owner) -> Owner:
    """One task where it owns all rows that anybody owns."""
    if isinstance(owner, ByRow):
        tasks = owner.tasks
        return tasks.pop() if len(tasks) == 1 else owner
    return owner


def join(first: Owner | None, second: Owner) -> Owner:
    """Owner of the sum of two gradients; None is nothing yet."""
    if first is None or first == second:
        return second
    if not isinstance(first, ByRow) or not isinstance(second, ByRow):
        single = {owner for one in (first, second) for owner in (one.tasks if isinstance(one, ByRow) else {one})}
        return single.pop() if len(single) == 1 else MIXED
    if first.n_rows != second.n_rows or first.axis != second.axis:
        return MIXED
    return _overlay(first, second)


def _overlay(first: ByRow, second: ByRow) -> Owner:
    """Runs of both, where at most one owns each row or both name the same task."""
    merged: list[tuple[int, int]] = []
    left, right = list(reversed(first.runs)), list(reversed(second.runs))
    while left and right:
        (one, n_one), (other, n_other) = left.pop(), right.pop()
        length = min(n_one, n_other)
        if one != other and NOBODY not in (one, other):
            return MIXED
        merged.append((max(one, other), length))
        if n_one > length:
            left.append((one, n_one - length))
        if n_other > length:
            right.append((other, n_other - length))
    return runs_of(merged, first.axis)
