"""Read the table that a configuration names and show how it was understood, before anything is trained."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING

from taskloom.cli._screen import Screen

if TYPE_CHECKING:
    from taskloom.cli._config import TableConfig
    from taskloom.data import MultiTaskData, Splitter

__all__ = ["read", "show_table"]

_MOST_OF_A_ROLE = 40


def read(settings: TableConfig, screen: Screen) -> MultiTaskData:
    """Read the table as the configuration says; warnings (a feature that gives a target away) are shown.

    Raises:
        DataError: the table cannot be read, or a column, a kind or a task is wrong.
    """
    import taskloom as tl

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = tl.read_table(
            settings.table,
            targets=settings.targets,
            task_column=settings.task_column,
            group_column=settings.group_column,
            time_column=settings.time_column,
            kinds=settings.kinds,
            drop=settings.drop,
            separator=settings.separator,
            encoding=settings.encoding,
        )
    for warning in dict.fromkeys(str(caught_one.message) for caught_one in caught):
        screen.warn(warning)
    return data


def show_table(screen: Screen, data: MultiTaskData, *, seed: int) -> Splitter:
    """Show the kinds of the columns, what was ignored and why, and the labelled rows per task and part.

    Args:
        screen: where.
        data: the table.
        seed: base seed; the rows are counted in the split of the first repetition.

    Returns:
        how the rows are split: by group or time where the table has such a column, else at random.

    Raises:
        DataError: a task cannot have labelled rows in every part.
    """
    _show_columns(screen, data)
    for notice in data.notices:
        screen.note(notice)
    from taskloom.data import default_split

    splitter = default_split(data)
    labelled = data.labelled(splitter.split(data, seed)).listing()
    parts = labelled.header[1:]
    screen.table("Labelled rows per task and part (first repetition)", labelled.header, labelled.rows, right=parts)
    if labelled.note:
        screen.say(labelled.note)
    return splitter


def _show_columns(screen: Screen, data: MultiTaskData) -> None:
    """The columns; of very many with one role the first ones and their number."""
    listing = data.describe()
    by_role = Counter(record["role"] for record in listing.records())
    shown: Counter[str | int] = Counter()
    rows = []
    for record, row in zip(listing.records(), listing.rows, strict=True):
        shown[record["role"]] += 1
        if shown[record["role"]] <= _MOST_OF_A_ROLE:
            rows.append(row)
    screen.table(f"Columns of the table ({data.n_rows:,} rows)", listing.header, rows, right=("rows",))
    for role, count in by_role.items():
        if count > _MOST_OF_A_ROLE:
            screen.say(f"... and {count - _MOST_OF_A_ROLE} more columns with the role {role!r}")
