"""``taskloom compare``: is it better to learn these tasks together?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskloom.cli import _options as option
from taskloom.cli._errors import friendly

__all__ = ["compare"]

_STUDY = "The comparison"


@friendly(can_continue=True)
def compare(
    data: option.Data = None,
    target: option.Targets = None,
    task_column: option.TaskColumn = None,
    main: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="The task that counts; by default all count alike.", rich_help_panel=_STUDY),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Repetitions, each with its own split. Default: 5.", rich_help_panel=_STUDY),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help="Tuning of every candidate: a number of trials ('12', '12 trials') or a time ('90s', '10m', '2h'). "
            "Default: 8 trials.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="What is compared: 'default', 'all', or names separated by commas (see 'taskloom methods').",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that train at the same time. Default: one per core when there is much to do.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the run; an unfinished run in it is continued. Default: taskloom-runs/<name of the data>.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Optuna storage that several machines share. Default: a SQLite file in the run's folder.",
            rich_help_panel=_STUDY,
        ),
    ] = None,
    seed: option.Seed = None,
    alpha: Annotated[
        float | None, typer.Option(help="Level of the tests. Default: 0.05.", rich_help_panel=_STUDY)
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Relative difference that does not matter in practice. Default: 0.01.", rich_help_panel=_STUDY
        ),
    ] = None,
    group_column: option.Group = None,
    time_column: option.Time = None,
    kind: option.Kinds = None,
    drop: option.Drop = None,
    separator: option.Separator = None,
    encoding: option.Encoding = None,
    config: option.Config = None,
    print_config: option.PrintConfig = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Compare learning the tasks of a table apart and together.

    Every candidate gets the same tuning budget and the same splits. The answer, a table and an HTML report tell
    for each task whether sharing helps, hurts, or makes no difference that matters.

    Example: taskloom compare marks.csv --target maths --target reading --group-column school
    """
    from taskloom.cli._config import CompareConfig, resolve, to_yaml

    settings = resolve(
        CompareConfig,
        config,
        {
            **option.table_flags(data, target, task_column, group_column, time_column, kind, drop, separator, encoding),
            "main": main,
            "seeds": seeds,
            "budget": budget,
            "candidates": candidates,
            "workers": workers,
            "out": out,
            "storage": storage,
            "seed": seed,
            "alpha": alpha,
            "margin": margin,
        },
        complete=not print_config,
    )
    if print_config:
        typer.echo(to_yaml(settings), nl=False)
        return
    from taskloom.cli._run_compare import run

    run(settings, quiet=quiet)
