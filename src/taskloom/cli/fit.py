"""``taskloom fit``: train one candidate and store it, so that ``taskloom predict`` can use it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskloom.cli import _options as option
from taskloom.cli._errors import friendly

__all__ = ["fit"]

_TRAINING = "Training"


@friendly()
def fit(
    data: option.Data = None,
    target: option.Targets = None,
    task_column: option.TaskColumn = None,
    candidate: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What is trained (see 'taskloom methods'). Default: hard_sharing.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the model. Default: taskloom-runs/<name of the data>-<candidate>.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Hyperparameter of the candidate, for example learning_rate=0.001 or width=64; repeat for several. "
            "Those not given have the values with which its tuning would start.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option(help="Longest training. Default: that of a comparison.", rich_help_panel=_TRAINING),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Epochs without a better validation score after which training stops. Default: that of a comparison.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    seed: option.Seed = None,
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
    """Train one candidate on a table and store the model.

    The folder holds model.json, and networks (model.safetensors) or estimators (estimators.skops); 'taskloom predict'
    loads them.

    Example: taskloom fit marks.csv --target maths --target reading --candidate hard_sharing
    """
    from taskloom.cli._config import FitConfig, resolve, to_yaml

    settings = resolve(
        FitConfig,
        config,
        {
            **option.table_flags(data, target, task_column, group_column, time_column, kind, drop, separator, encoding),
            "candidate": candidate,
            "out": out,
            "settings": option.split_settings(setting),
            "max_epochs": max_epochs,
            "patience": patience,
            "seed": seed,
        },
        complete=not print_config,
    )
    if print_config:
        typer.echo(to_yaml(settings), nl=False)
        return
    from taskloom.cli._run_fit import run

    run(settings, quiet=quiet)
