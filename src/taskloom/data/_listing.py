"""Small tables that are printed before anything is trained, and that reports read as records."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

__all__ = ["LabelledRows", "Listing"]


@dataclass(frozen=True)
class Listing:
    """A small table of text: a header and rows.

    Args:
        header: names of the columns.
        rows: cells, one tuple per row.
        note: a line under the table.

    Example:
        >>> print(Listing(("name", "rows"), (("a", 3), ("bee", 12))))
        name  rows
        ----  ----
        a        3
        bee     12
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str | int, ...], ...]
    note: str = ""

    def records(self) -> list[dict[str, str | int]]:
        """One dictionary per row."""
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        cells = [self.header, tuple("-" * _width(name) for name in self.header)]
        cells += [tuple(str(cell) for cell in row) for row in self.rows]
        widths = [max(_width(row[place]) for row in cells) for place in range(len(self.header))]
        numbers = [
            bool(self.rows) and all(isinstance(row[place], int) for row in self.rows) for place in range(len(widths))
        ]
        lines = []
        for number, row in enumerate(cells):
            padded = []
            for cell, width, right in zip(row, widths, numbers, strict=True):
                filled = ("-" if number == 1 else " ") * (width - _width(cell))
                padded.append(filled + cell if right else cell + filled)
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, *([self.note] if self.note else [])])


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """How many labelled rows each task has in each part.

    Args:
        tasks: names of the K tasks.
        parts: names of the parts, for example train, validation, test; ``("all",)`` without a split.
        counts: int64 (K, parts).

    Example:
        >>> rows = LabelledRows(("a", "b"), ("train", "test"), np.array([[6, 2], [3, 1]]))
        >>> rows.records()[0]
        {'task': 'a', 'part': 'train', 'rows': 6}
        >>> print(rows)
        task  train  test
        ----  -----  ----
        a         6     2
        b         3     1
    """

    tasks: tuple[str, ...]
    parts: tuple[str, ...]
    counts: np.ndarray

    def records(self) -> list[dict[str, str | int]]:
        """One dictionary per task and part: task, part, rows."""
        return [
            {"task": task, "part": part, "rows": int(self.counts[row, place])}
            for row, task in enumerate(self.tasks)
            for place, part in enumerate(self.parts)
        ]

    def listing(self, *, limit: int = 20) -> Listing:
        """The table to print; of more than ``limit`` tasks only those with the fewest rows.

        Args:
            limit: number of tasks shown; default 20, about half a screen.
        """
        order = np.arange(len(self.tasks))
        note = ""
        if len(order) > limit:
            total = self.counts.sum(axis=1)
            order = np.argsort(total, kind="stable")[:limit]
            note = (
                f"the {limit} tasks with the fewest labelled rows of {len(self.tasks)}; "
                f"median {int(np.median(total))}, largest {int(total.max())}"
            )
        rows: tuple[tuple[str | int, ...], ...] = tuple(
            (self.tasks[row], *(int(count) for count in self.counts[row])) for row in order.tolist()
        )
        return Listing(("task", *self.parts), rows, note)

    def __str__(self) -> str:
        return str(self.listing())


def _width(text: str) -> int:
    """Columns that a text takes on a terminal (letters of East Asian scripts take two)."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
