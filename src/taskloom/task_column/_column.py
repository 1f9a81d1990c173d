"""Take the task column out of a table, whatever the table is made of, and read the labels in it."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from taskloom.errors import DataError, TaskError, nearest
from taskloom.task_column._missing import are_missing

__all__ = ["column_names", "column_position", "read_task_labels", "show_label", "show_labels", "take_column"]

TaskFeature = int | str


def show_label(label: Any) -> str:
    """A task label as a user wrote it: without the NumPy type around it."""
    return repr(label.item() if isinstance(label, np.generic) else label)


def show_labels(labels: NDArray[Any] | list[Any], most: int = 5) -> str:
    """The first labels, and how many there are beyond."""
    shown = ", ".join(show_label(label) for label in labels[:most])
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


def column_names(table: Any) -> list[str] | None:
    """Names of the columns of a frame; None for arrays."""
    columns = getattr(table, "columns", None)
    return None if columns is None or isinstance(table, np.ndarray) else [str(name) for name in columns]


def column_position(task_feature: TaskFeature, *, n_columns: int, names: list[str] | None) -> int:
    """Position of the task column.

    Args:
        task_feature: position, negative ones from the end, or a name.
        n_columns: number of columns of the table.
        names: names of the columns, of the table itself or of the one the estimator was fitted on; None for an array.

    Raises:
        DataError: no such column.
    """
    if isinstance(task_feature, str):
        if names is None:
            raise DataError(
                f"task_feature={task_feature!r} is the name of a column, but X has no column names; give its position "
                "(task_feature=0) or pass a data frame"
            )
        if task_feature not in names:
            raise DataError(f"task_feature={task_feature!r} is no column of X.{nearest(task_feature, names)}")
        return names.index(task_feature)
    if isinstance(task_feature, bool) or not isinstance(task_feature, int | np.integer):
        raise DataError(f"task_feature={task_feature!r}; expected None, the position or the name of a column of X")
    if not -n_columns <= task_feature < n_columns:
        raise DataError(f"task_feature={task_feature} but X has {n_columns} columns")
    return int(task_feature) % n_columns


def take_column(table: Any, task_feature: TaskFeature, *, names: list[str] | None = None) -> tuple[Any, NDArray[Any]]:
    """Split a table into the columns beside the task column and the task labels.

    Args:
        table: array, nested lists, sparse matrix or data frame with two axes.
        task_feature: position or name of the task column.
        names: names of columns to look the position up in, for a table without names.

    Returns:
        the table without the column (of the kind that it was), and the labels, as :func:`read_task_labels` gives them.
    """
    frame = nw.from_native(table, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        position = column_position(task_feature, n_columns=frame.shape[1], names=column_names(table))
        name = frame.columns[position]
        return frame.drop(name).to_native(), read_task_labels(frame.get_column(name).to_numpy())
    if not sparse.issparse(table):
        table = np.asarray(table)
    if table.ndim != 2:
        one_row = ". If it is one row: X.reshape(1, -1)" if table.ndim == 1 else ""
        raise DataError(f"X has {table.ndim} axes; expected a table of two, rows and columns{one_row}")
    position = column_position(task_feature, n_columns=table.shape[1], names=names)
    if sparse.issparse(table):
        table = table.tocsc()
        column = table[:, [position]].toarray().ravel()
        beside = np.delete(np.arange(table.shape[1]), position)
        return table[:, beside], read_task_labels(column)
    return np.delete(table, position, axis=1), read_task_labels(table[:, position])


def read_task_labels(column: NDArray[Any]) -> NDArray[Any]:
    """Task labels that can be compared and sorted: whole numbers, text, truth values or dates.

    Args:
        column: (n,) any type.

    Raises:
        TaskError: a missing label, numbers that are not whole, or text mixed with numbers.
    """
    column = np.asarray(column)
    if column.dtype == object:
        column = _of_one_type(column)
    if column.dtype.kind == "f":
        return _whole_numbers(column)
    if column.dtype.kind == "M" and np.isnat(column).any():
        raise TaskError(
            f"the task column has {int(np.isnat(column).sum())} missing labels; every row belongs to a task"
        )
    if column.dtype.kind not in "biuUSTM":
        raise TaskError(f"the task column holds values of type {column.dtype}; expected whole numbers or text")
    return column


def _of_one_type(column: NDArray[Any]) -> NDArray[Any]:
    missing = are_missing(column)
    if missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise TaskError(
            f"the task column has {int(missing.sum())} missing labels (first in row {row}); every row belongs to a task"
        )
    kinds = {"text" if isinstance(value, str | bytes) else "numbers" for value in column}
    if len(kinds) > 1:
        raise TaskError("the task column mixes text and numbers; write all labels in one way, for example as text")
    try:
        return np.array(column.tolist())
    except ValueError as error:
        raise TaskError(f"the task column does not hold one label per row: {error}") from error


def _whole_numbers(column: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(column).all():
        row = int(np.flatnonzero(~np.isfinite(column))[0])
        raise TaskError(f"the task column holds {column[row]} in row {row}; every row belongs to a task")
    whole = column.astype(np.int64)
    if (whole != column).any():
        row = int(np.flatnonzero(whole != column)[0])
        raise TaskError(
            "task column contains non-integer values; was X scaled? use TaskStandardScaler, which leaves the task "
            f"column alone (found {column[row]:g} in row {row})"
        )
    return whole
