"""``taskloom methods``: what there is, one line and source each."""

from __future__ import annotations

from typing import Annotated

import typer

from taskloom.cli import _options as option
from taskloom.cli._errors import friendly

__all__ = ["methods"]


@friendly()
def methods(
    find: Annotated[
        str | None, typer.Argument(metavar="WORD", help="Show only methods in whose line this word occurs.")
    ] = None,
    debug: option.Debug = False,
) -> None:
    """List what there is: candidates of a comparison, baselines, balancers, architectures."""
    from taskloom.cli._catalogue import catalogue
    from taskloom.cli._screen import Screen
    from taskloom.errors import TaskloomError

    screen = Screen()
    shown = False
    for title, entries in catalogue().items():
        rows = [
            (entry.name, entry.summary, entry.source)
            for entry in entries
            if find is None or find.casefold() in f"{entry.name} {entry.summary} {entry.source}".casefold()
        ]
        if rows:
            shown = True
            screen.table(title, ("name", "what it does", "source"), rows)
    if not shown:
        raise TaskloomError(f"no method has {find!r} in its line; run 'taskloom methods' to see all of them")
