"""Run a comparison as its configuration says."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from taskloom.cli._output import output_folder
from taskloom.cli._screen import Screen
from taskloom.cli._show import show_results
from taskloom.cli._tables import read, show_table

if TYPE_CHECKING:
    from taskloom.cli._config import CompareConfig

__all__ = ["run"]


def run(settings: CompareConfig, *, quiet: bool = False) -> None:
    """Read the table, show it, compare with a progress bar, and show the results.

    Args:
        settings: a complete configuration.
        quiet: show only where the report lies.

    Raises:
        TaskloomError: the data, the settings or the folder cannot be used.
    """
    import taskloom as tl
    from taskloom.study.budget import Budget

    screen = Screen(quiet=quiet)
    budget = Budget.parse(settings.budget)
    data = read(settings, screen)
    splitter = show_table(screen, data, seed=settings.seed)
    with output_folder(settings.folder) as folder:
        with screen.progress("comparing") as advance:
            results = tl.compare(
                data,
                candidates=settings.candidates,
                main=settings.main,
                seeds=settings.seeds,
                seed=settings.seed,
                budget=budget,
                split=splitter,
                workers=settings.workers,
                out=folder,
                storage=settings.storage,
                alpha=settings.alpha,
                margin=settings.margin,
                progress=advance,
                command=shlex.join(["taskloom", *sys.argv[1:]]),
            )
        show_results(screen, results, folder)
