"""One table per task, and one table with a task column: there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from taskloom.errors import DataError, TaskError
from taskloom.task_column._column import TaskFeature, show_labels, take_column

__all__ = ["stack_tasks", "unstack_tasks"]


def stack_tasks(
    Xs: Sequence[Any], ys: Sequence[Any], *, labels: Sequence[Any] | None = None, name: str = "task"
) -> tuple[Any, NDArray[Any]]:
    """Put the tables of several tasks below each other, with the task of a row in the first column.

    The result is what scikit-learn's splitters, pipelines and searches work on; give the estimator ``task_feature=0``.

    Args:
        Xs: T tables of shapes (n_t, d): arrays, sparse matrices, or data frames with the same columns.
        ys: T vectors of lengths n_t.
        labels: T different task labels, whole numbers or text; 0, 1, ..., T - 1 by default. Text makes an array of
            objects, since a table of numbers cannot hold it.
        name: name of the new column, for data frames.

    Returns:
        X, (sum of n_t, 1 + d), of the kind of the tables, and y, (sum of n_t,).

    Raises:
        DataError: tables and vectors that do not fit together.
        TaskError: labels that are not T different ones.

    Example:
        >>> X, y = stack_tasks([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], [[0.1], [0.2, 0.3]])
        >>> X
        array([[0., 1., 2.],
               [1., 3., 4.],
               [1., 5., 6.]])
    """
    if len(Xs) != len(ys) or not len(Xs):
        raise DataError(f"Xs has {len(Xs)} tables and ys has {len(ys)} vectors; expected one of each per task")
    tables = [_as_table(one) for one in Xs]
    vectors = [np.asarray(one) for one in ys]
    chosen = _check_labels(labels, len(tables))
    _check_shapes(tables, vectors, chosen)
    return _stack(tables, chosen, name), np.concatenate(vectors)


def unstack_tasks(
    X: Any, y: Any, *, task_feature: TaskFeature = 0
) -> tuple[list[Any], list[NDArray[Any]], NDArray[Any]]:
    """Take a table with a task column apart: the inverse of :func:`stack_tasks`.

    Args:
        X: (n, 1 + d), array, sparse matrix or data frame.
        y: (n,).
        task_feature: position or name of the task column.

    Returns:
        T tables without the task column, T vectors, and the T labels, sorted. Rows keep their order in a task.

    Raises:
        DataError: X and y of different lengths, or no such column.
        TaskError: a task column that does not hold labels.

    Example:
        >>> Xs, ys, labels = unstack_tasks([[1, 5.0], [0, 6.0], [1, 7.0]], [0.1, 0.2, 0.3])
        >>> Xs[1].ravel(), ys[1], labels
        (array([5., 7.]), array([0.1, 0.3]), array([0, 1]))
    """
    beside, column = take_column(X, task_feature)
    targets = np.asarray(y)
    if len(targets) != len(column):
        raise DataError(f"X has {len(column)} rows and y has {len(targets)}; expected as many")
    labels, positions = np.unique(column, return_inverse=True)
    rows = np.split(np.argsort(positions, kind="stable"), np.cumsum(np.bincount(positions))[:-1])
    return [_take_rows(beside, one) for one in rows], [targets[one] for one in rows], labels


def _as_table(one: Any) -> Any:
    frame = nw.from_native(one, eager_only=True, pass_through=True)
    return frame if isinstance(frame, nw.DataFrame) or sparse.issparse(frame) else np.asarray(one)


def _check_labels(labels: Sequence[Any] | None, n_tasks: int) -> NDArray[Any]:
    chosen = np.arange(n_tasks) if labels is None else np.asarray(labels)
    if chosen.shape != (n_tasks,):
        raise TaskError(f"labels has shape {chosen.shape}; expected one label for each of the {n_tasks} tasks")
    if len(np.unique(chosen)) < n_tasks:
        raise TaskError(f"labels are not different: {show_labels(chosen)}")
    return chosen


def _check_shapes(tables: list[Any], vectors: list[NDArray[Any]], labels: NDArray[Any]) -> None:
    for table, vector, label in zip(tables, vectors, labels, strict=True):
        if len(table.shape) != 2 or vector.shape != table.shape[:1]:
            raise DataError(
                f"task {show_labels([label])}: its table has shape {table.shape} and its y {vector.shape}; expected "
                "(n, d) and (n,)"
            )
        if table.shape[1] != tables[0].shape[1]:
            raise DataError(
                f"task {show_labels([label])} has {table.shape[1]} columns and task {show_labels([labels[0]])} has "
                f"{tables[0].shape[1]}; all tasks need the same features"
            )


def _stack(tables: list[Any], labels: NDArray[Any], name: str) -> Any:
    counts = [table.shape[0] for table in tables]
    column = np.repeat(labels, counts)
    if all(isinstance(table, nw.DataFrame) for table in tables):
        if name in tables[0].columns:
            raise DataError(f"the tables have a column {name!r} already; choose another name= for the task column")
        marked = [
            table.with_columns(nw.lit(label).alias(name)).select(name, *tables[0].columns)
            for table, label in zip(tables, labels.tolist(), strict=True)
        ]
        return nw.concat(marked, how="vertical").to_native()
    if any(isinstance(table, nw.DataFrame) for table in tables):
        raise DataError("Xs mixes data frames and arrays; expected tables of one kind")
    if any(sparse.issparse(table) for table in tables):
        beside = sparse.vstack([sparse.csr_array(table) for table in tables])
        return sparse.hstack([sparse.csr_array(column.reshape(-1, 1).astype(np.float64)), beside], format="csr")
    beside = np.concatenate(tables)
    if column.dtype.kind not in "biuf" or beside.dtype == object:
        beside = beside.astype(object)
    return np.concatenate([column.reshape(-1, 1).astype(beside.dtype), beside], axis=1)


def _take_rows(table: Any, rows: NDArray[np.intp]) -> Any:
    frame = nw.from_native(table, eager_only=True, pass_through=True)
    if isinstance(frame, nw.DataFrame):
        return frame[rows.tolist()].to_native()
    return (table.tocsr() if sparse.issparse(table) else table)[rows]
