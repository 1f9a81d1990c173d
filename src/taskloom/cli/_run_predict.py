"""Apply a stored model to the rows of a table."""

from __future__ import annotations

from pathlib import Path

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

    Raises:
        TaskloomError: the run, the data or the place of the predictions cannot be used.
    """
    raise NotImplementedError
