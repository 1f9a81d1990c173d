"""Which task's output depends on which part of stitched networks: read backwards along the links of the units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Links", "Wiring"]

Links = Sequence[Sequence[bool]]
"""Of a unit: row -> network -> whether the row reads the network."""


@dataclass(frozen=True)
class Wiring:
    """Who reads whom, stage by stage.

    Up to the last unit there is a feature for every network; the rows of the last unit, and all that follows, are those
    of the tasks.

    Args:
        links: per stage, the links of the unit behind it, or None where there is no unit.
        networks: per task, the network of it.
        taps: per task and stage, whether the task's features are made of what is behind that stage.
    """

    links: Sequence[Links | None]
    networks: Sequence[int]
    taps: Sequence[Sequence[bool]]

    @property
    def last(self) -> int:
        """The last stage with a unit; -1 without units."""
        return max((place for place, links in enumerate(self.links) if links is not None), default=-1)

    def member(self, place: int, task: int) -> int:
        """Where the features of a task are among those behind a stage (and its unit)."""
        return task if place >= self.last else self.networks[task]

    def readers(self) -> list[tuple[list[int], list[int]]]:
        """Per stage: which tasks depend on each output of the stage, and on each row of what the unit makes of them.

        Sets of tasks are bits of a number: task 0 is 1, task 1 is 2, task 2 is 4.
        """
        found: list[tuple[list[int], list[int]]] = []
        behind = [0] * len(self.networks)
        for place in reversed(range(len(self.links))):
            for task, taps in enumerate(self.taps):
                if taps[place]:
                    behind[self.member(place, task)] |= 1 << task
            links = self.links[place]
            before = list(behind) if links is None else _columns(links, behind)
            found.append((before, behind))
            behind = list(before)
        return found[::-1]

    def needed(self, task: int) -> list[tuple[list[int], list[int]]]:
        """Per stage: the members that a task needs of its outputs, and of the rows behind its unit."""
        found: list[tuple[list[int], list[int]]] = []
        rows: set[int] = set()
        for place in reversed(range(len(self.links))):
            if self.taps[task][place]:
                rows.add(self.member(place, task))
            links = self.links[place]
            columns = set(rows)
            if links is not None:
                read = {column for row in rows for column, reads in enumerate(links[row]) if reads}
                columns = read or {self.networks[task]} if rows else set()  # a unit of zeros still needs a shape
            found.append((sorted(columns), sorted(rows)))
            rows = columns
        return found[::-1]


def _columns(links: Links, behind: Sequence[int]) -> list[int]:
    before = [0] * len(links[0])
    for row, tasks in zip(links, behind, strict=True):
        for column, reads in enumerate(row):
            if reads:
                before[column] |= tasks
    return before
