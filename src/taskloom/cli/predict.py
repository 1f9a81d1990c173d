"""``taskloom predict``: apply a stored model to new rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskloom.cli import _options as option
from taskloom.cli._errors import friendly

__all__ = ["predict"]


@friendly()
def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that 'fit' or 'compare' has written.")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Table with the features that the model was given.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the predictions go; .parquet or .csv.")] = Path(
        "predictions.parquet"
    ),
    candidate: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which model of a comparison. Default: the best one."),
    ] = None,
    separator: option.Separator = None,
    encoding: option.Encoding = None,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Predict every task for the rows of a table.

    The file has one row per row of the table: a column per regression task; for a classification task the most
    probable class, and a column of probability per class. Where each row belongs to one task (--task-column), the
    columns are the task and its prediction.
    """
    from taskloom.cli._run_predict import run_predict

    run_predict(run, data, out, candidate=candidate, separator=separator, encoding=encoding, quiet=quiet)
