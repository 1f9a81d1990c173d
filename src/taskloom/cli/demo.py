"""``taskloom demo``: the whole job on data that needs no download."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskloom.cli import _options as option
from taskloom.cli._errors import friendly

__all__ = ["demo"]


@friendly(can_continue=True)
def demo(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of the run; an unfinished run in it is continued."),
    ] = Path("taskloom-runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Base of every random number.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer repetitions and candidates.")] = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Compare on handwritten digits, two on each picture: some tasks help each other, one does not.

    Takes under three minutes on two cores and needs no download.
    """
    import taskloom as tl
    from taskloom.cli._output import output_folder
    from taskloom.cli._screen import Screen
    from taskloom.cli._show import show_results

    screen = Screen(quiet=quiet)
    with output_folder(out) as folder:
        with screen.progress("comparing") as advance:
            results = tl.demo(out=folder, seed=seed, quick=quick, progress=advance)
        show_results(screen, results, folder)
