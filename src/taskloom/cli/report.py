"""``taskloom report``: write the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskloom.cli import _options as option
from taskloom.cli._errors import friendly

__all__ = ["report"]


@friendly()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that 'compare' or 'demo' has finished.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML file to write. Default: report.html in the run's folder."),
    ] = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Write the HTML report of a finished run and say its answer."""
    import taskloom as tl
    from taskloom.cli._output import written_file
    from taskloom.cli._screen import Screen
    from taskloom.errors import StudyError

    if not any((place / "settings.json").is_file() for place in (run / "results", run)):
        raise StudyError(
            f"{str(run)!r} holds no results of a finished comparison; expected a folder that 'taskloom compare' or "
            "'taskloom demo' has written; run one of them with --out, or give the folder of another run"
        )
    results = tl.Results.load(run)
    screen = Screen(quiet=quiet)
    target = out if out is not None else run / "report.html"
    with written_file(target) as part:
        results.report(part)
    screen.say(results.answer())
    screen.answer(f"report: {target}")
