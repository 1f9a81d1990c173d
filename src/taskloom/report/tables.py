"""Tables that a reader can sort by click or keyboard: header cells hold buttons, cells carry the value to sort by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskloom.report.markup import Html, element

__all__ = ["TALL_TABLE", "WIDE_TABLE", "Cell", "Column", "table"]

TALL_TABLE = 20
"""With more rows than this a table scrolls inside the page, so that what follows stays in reach."""

WIDE_TABLE = 7
"""With more columns than this a table is printed smaller."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its label, whether its cells are numbers, and a few words below the label."""

    label: str
    numeric: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows and the number or text it is sorted by (None: always last)."""

    shown: str
    value: float | str | None = None

    @staticmethod
    def text(shown: str) -> Cell:
        """A cell that is sorted by what it shows."""
        return Cell(shown, shown.casefold())


def table(
    identifier: str,
    caption: str,
    *,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    chosen: int | None = None,
    sorted_by: tuple[int, str] | None = None,
) -> Html:
    """Write a sortable table; the first cell of a row is its header and stays in view when scrolled sideways.

    Args:
        identifier: id of the table.
        caption: what the table holds; read by screen readers.
        columns: the columns.
        rows: the rows, one cell per column.
        chosen: position of a row to set off.
        sorted_by: column and direction (``"ascending"``, ``"descending"``) that the rows already have.

    Returns:
        the table in a region that scrolls by itself.

    Example:
        >>> page = table("t", "Ages", columns=[Column("Name"), Column("Age", numeric=True)],
        ...              rows=[[Cell.text("<Ann>"), Cell("41", 41.0)]])
        >>> "&lt;Ann&gt;" in page and 'data-value="41.0"' in page
        True
    """
    head = [_header(column, position, sorted_by) for position, column in enumerate(columns)]
    body = [
        element(
            "tr",
            {"class": "chosen" if position == chosen else None},
            *(
                _cell(cell, column, first=number == 0)
                for number, (cell, column) in enumerate(zip(row, columns, strict=True))
            ),
        )
        for position, row in enumerate(rows)
    ]
    return element(
        "div",
        {
            "class": "scroll tall" if len(rows) > TALL_TABLE else "scroll",
            "role": "region",
            "aria-label": caption,
            "tabindex": "0",
        },
        element(
            "table",
            {"id": identifier, "class": "sortable wide" if len(columns) > WIDE_TABLE else "sortable"},
            element("caption", {"class": "unseen"}, caption),
            element("thead", {}, element("tr", {}, *head)),
            element("tbody", {}, *body),
        ),
    )


def _header(column: Column, position: int, sorted_by: tuple[int, str] | None) -> Html:
    direction = sorted_by[1] if sorted_by is not None and sorted_by[0] == position else "none"
    return element(
        "th",
        {"scope": "col", "class": "numeric" if column.numeric else None, "aria-sort": direction},
        element(
            "button",
            {"type": "button"},
            element("span", {"class": "label"}, column.label),
            element("small", {}, column.note) if column.note else None,
        ),
    )


def _cell(cell: Cell, column: Column, *, first: bool) -> Html:
    value = None if cell.value is None else str(cell.value)
    if first:
        return element("th", {"scope": "row", "data-value": value}, cell.shown)
    return element("td", {"class": "numeric" if column.numeric else None, "data-value": value}, cell.shown)
