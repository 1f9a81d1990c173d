"""Read the table that a configuration names and show how it was understood, before anything is trained."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from taskloom.cli._screen import Screen

if TYPE_CHECKING:
    from taskloom.cli._config import TableConfig
    from taskloom.data import Listing, MultiTaskData, Split

__all__ = ["read", "show_table"]


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


def show_table(screen: Screen, data: MultiTaskData, split: Split) -> None:
    """Show the kinds of the columns, what was ignored and why, and the labelled rows per task and part.

    Args:
        screen: where.
        data: the table.
        split: the parts of the first repetition; the others differ by chance.
    """
    _show_listing(screen, f"Columns of the table ({data.n_rows:,} rows)", data.describe())
    for notice in data.notices:
        screen.say(f"note: {notice}")
    _show_listing(screen, "Labelled rows per task and part (first repetition)", data.labelled(split).listing())


def _show_listing(screen: Screen, title: str, listing: Listing) -> None:
    first_number = next(
        (place for place in range(len(listing.header)) if listing.rows and isinstance(listing.rows[0][place], int)),
        len(listing.header),
    )
    screen.table(title, listing.header, listing.rows, left=first_number)
    if listing.note:
        screen.say(listing.note)
