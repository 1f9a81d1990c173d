"""Write predictions as a table: a column per value, a file that other programs read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import narwhals as nw
import numpy as np

from taskloom.cli._output import written_file
from taskloom.errors import ExportError
from taskloom.task import Task

__all__ = ["prediction_columns", "write_columns"]

_FORMATS = (".csv", ".parquet")


def prediction_columns(
    tasks: Sequence[Task], predictions: Mapping[str, np.ndarray], *, task_ids: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Columns for the predictions of each task.

    A task without classes gives one column with its name. A task with classes gives the most probable class under
    its name, and one column ``<task>: probability of <class>`` for each class.

    With several data sets a row belongs to one task: then the columns are ``task``, ``prediction`` and, with classes,
    ``probability of <class>``.

    Args:
        tasks: the K tasks.
        predictions: by task, values of shape (n,), probabilities of the second class of shape (n,), or
            probabilities of shape (n, C).
        task_ids: index of the task of each row, int64 (n,), with several data sets; None where every row has a
            prediction of every task.

    Returns:
        columns of n values by name, tasks in order.

    Example:
        >>> from taskloom.task import Binary
        >>> columns = prediction_columns([Task(name="rain", kind=Binary(("no", "yes")))], {"rain": np.array([0.75])})
        >>> columns["rain"].tolist(), columns["rain: probability of yes"].tolist()
        (['yes'], [0.75])
    """
    if task_ids is None:
        columns: dict[str, np.ndarray] = {}
        for task in tasks:
            values, shares = _values(task, predictions[task.name])
            columns[task.name] = values
            columns.update({f"{task.name}: probability of {label}": share for label, share in shares.items()})
        return columns
    names = np.asarray([task.name for task in tasks], dtype=object)
    columns = {"task": names[task_ids], "prediction": np.full(len(task_ids), None, dtype=object)}
    for position, task in enumerate(tasks):
        own = task_ids == position
        values, shares = _values(task, predictions[task.name][own])
        columns["prediction"][own] = values
        for label, share in shares.items():
            column = columns.setdefault(f"probability of {label}", np.full(len(task_ids), np.nan))
            column[own] = share
    return columns


def _values(task: Task, predictions: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Values or most probable classes (n,), and the probability (n,) of each class."""
    given = np.asarray(predictions, dtype=np.float64)
    labels: tuple[str, ...] = getattr(task.kind, "labels", ())
    if not labels:
        return given, {}
    shares = np.stack([1.0 - given, given], axis=1) if given.ndim == 1 else given  # (n, C)
    return np.asarray(labels, dtype=object)[shares.argmax(axis=1)], dict(zip(labels, shares.T, strict=True))


def write_columns(columns: Mapping[str, np.ndarray], path: Path) -> None:
    """Write columns of equal length to a CSV or Parquet file, complete or not at all.

    Raises:
        ExportError: the ending is neither .csv nor .parquet, or the place cannot be written to.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "predictions.csv"
        >>> write_columns({"price": np.array([1.5])}, file)
        >>> file.read_text().split()
        ['price', '1.5']
    """
    frame = nw.from_dict({name: values.tolist() for name, values in columns.items()}, backend="polars")
    with written_file(check_format(path)) as part:
        if path.suffix.lower() == ".csv":
            frame.write_csv(part)
        else:
            frame.write_parquet(part)


def check_format(path: Path) -> Path:
    """Check before the work that predictions can be written in the format that the file's ending asks for.

    Raises:
        ExportError: the ending is neither .csv nor .parquet.

    Example:
        >>> check_format(Path("predictions.xlsx"))
        Traceback (most recent call last):
        taskloom.errors.ExportError: cannot write predictions to 'predictions.xlsx': ...
    """
    if path.suffix.lower() not in _FORMATS:
        raise ExportError(
            f"cannot write predictions to {str(path)!r}: the ending {path.suffix!r} is not known; expected .csv or "
            ".parquet; give --out predictions.csv"
        )
    return path
