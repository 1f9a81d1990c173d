"""Apply a stored model to the rows of a table."""

from __future__ import annotations

from pathlib import Path

from taskloom.cli._output import check_file
from taskloom.cli._predictions import check_format, prediction_columns, write_columns
from taskloom.cli._screen import Screen

__all__ = ["run_predict"]


def run_predict(
    run: Path,
    data: Path,
    out: Path,
    *,
    candidate: str | None = None,
    separator: str | None = None,
    encoding: str | None = None,
    quiet: bool = False,
) -> None:
    """Load the model of a run, predict every row of a table, and write the predictions.

    Args:
        run: folder of ``fit`` or of a finished comparison.
        data: table with the features that the model was trained on.
        out: file that is written, .csv or .parquet.
        candidate: which candidate of a comparison; default the best one.
        separator: as in ``tl.read_table``.
        encoding: as in ``tl.read_table``.
        quiet: show only where the predictions lie.

    Raises:
        TaskloomError: the run, the data or the place of the predictions cannot be used.
    """
    check_file(check_format(out))
    from taskloom.data import read_features
    from taskloom.study import load_model

    screen = Screen(quiet=quiet)
    model = load_model(run, candidate=candidate)
    rows = read_features(data, model.preparation.schema, separator=separator, encoding=encoding)
    for notice in rows.notices:
        screen.note(notice)
    columns = prediction_columns(model.tasks, model.predict(rows), task_ids=rows.task_ids)
    write_columns(columns, out)
    screen.say(f"{rows.n_rows:,} rows, {len(model.tasks)} tasks, candidate {model.candidate}")
    screen.answer(f"predictions: {out}")
