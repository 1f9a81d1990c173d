"""What can be learnt at all, and what looks too good to be true."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from taskloom.data._columns import Column, shorten
from taskloom.errors import DataError

if TYPE_CHECKING:
    from taskloom.data.multitask import MultiTaskData

__all__ = ["MINIMUM_ROWS", "LeakWarning", "check_learnable", "leaks"]

MINIMUM_ROWS = 10
_COPY = 0.999
_SUSPICIOUS = 0.95


class LeakWarning(UserWarning):
    """A feature is a copy of a target, so that predicting the target from it proves nothing.

    Example:
        >>> issubclass(LeakWarning, UserWarning)
        True
    """


def check_learnable(data: MultiTaskData) -> None:
    """Refuse tasks from which nothing can be learnt or measured.

    Raises:
        DataError: a task has no label, a constant target, fewer than 10 labelled rows, or a class of one member.
    """
    few, constant = [], []
    for task in data.tasks:
        values = data.targets[task.name][data.mask[task.name]]
        if values.size == 0:
            raise DataError(f"task {task.name!r} has a label in no row; give some rows a value, or leave this task out")
        if values.size < MINIMUM_ROWS:
            few.append(f"{task.name} ({values.size})")
        elif values.min() == values.max():
            constant.append(task.name)
    if few:
        raise DataError(
            f"{_tasks(few)} fewer than {MINIMUM_ROWS} labelled rows: {shorten(tuple(few), 8)}; training, validation "
            "and "
            f"test need at least {MINIMUM_ROWS} together. Add rows, merge the task with a similar one, or leave it out"
        )
    if constant:
        raise DataError(
            f"{_tasks(constant)} a constant target: {shorten(tuple(constant), 8)}; there is nothing to learn. Leave "
            "the "
            "task out, or check that its rows are complete (-1 in class codes means that a row is not labelled)"
        )
    for owner, labels, counts in _class_counts(data):
        lonely = np.flatnonzero(counts == 1)
        if len(lonely):
            raise DataError(
                f"{owner} has a class of one member: {labels[lonely[0]]!r}; a class needs at least two rows, one to "
                "learn from and one to test on. Merge it with another class, or leave its row without a label"
            )


def _class_counts(data: MultiTaskData) -> list[tuple[str, tuple[str, ...], np.ndarray]]:
    """Whose classes, their labels and the labelled rows of each: per task, or pooled for a common target."""
    pooled: dict[str, tuple[str, tuple[str, ...], np.ndarray]] = {}
    for task in data.tasks:
        if not task.kind.n_classes:
            continue
        labels = tuple(getattr(task.kind, "labels", ())) or tuple(map(str, range(task.kind.n_classes)))
        counts = np.bincount(data.targets[task.name][data.mask[task.name]], minlength=task.kind.n_classes)
        key = "" if data.common_target else task.name
        owner = f"the target {data.origin.target_column or 'of all tasks'!r}" if data.common_target else f"task {key!r}"
        pooled[key] = (owner, labels, counts + pooled[key][2] if key in pooled else counts)
    return list(pooled.values())


def leaks(data: MultiTaskData) -> tuple[str, ...]:
    """Name features that copy a target or nearly do; copies are also warned of.

    The measure is the absolute Pearson correlation on the labelled rows (codes for classes; a category is a copy if
    categories and classes correspond one to one). From 0.999 on a feature is called a copy, from 0.95 on suspicious.
    """
    columns = [column for column in _columns(data) if column.kind != "date"]
    said: list[str] = []
    for name, target, known in _targets(data):
        rows = np.flatnonzero(known)
        classes = target.dtype.kind == "i"
        numeric = [column for column in columns if column.kind == "numeric"]
        found = [
            (column.name, value) for column, value in zip(numeric, _correlations(numeric, target, rows), strict=True)
        ]
        if classes:
            found += [(column.name, 1.0) for column in columns if _same_partition(column, target, rows)]
        for column_name, value in {name: value for name, value in found if abs(value) >= _SUSPICIOUS}.items():
            if abs(value) >= _COPY:
                message = (
                    f"leak: feature {column_name!r} is a copy of the target {name!r} (correlation {value:.4f}); a "
                    "model that "
                    "sees it has nothing to learn. Drop the column unless it is known when a prediction is wanted"
                )
                warnings.warn(message, LeakWarning, stacklevel=4)
            else:
                message = (
                    f"feature {column_name!r} has correlation {value:.3f} with the target {name!r}; make sure that "
                    "it is "
                    "known when a prediction is wanted"
                )
            said.append(message)
    return tuple(said)


def _tasks(names: list[str]) -> str:
    return "1 task has" if len(names) == 1 else f"{len(names)} tasks have"


def _columns(data: MultiTaskData) -> list[Column]:
    if data.inputs is None:
        return list(data.features)
    if data.inputs.ndim != 2 or data.inputs.size * len(data.tasks) > 10**9:
        return []
    return [Column(f"input {place}", "numeric", values) for place, values in enumerate(data.inputs.T)]


def _targets(data: MultiTaskData) -> list[tuple[str, np.ndarray, np.ndarray]]:
    if not data.common_target:
        return [(task.name, data.targets[task.name], data.mask[task.name]) for task in data.tasks]
    target, known = np.array(data.targets[data.tasks[0].name]), np.zeros(data.n_rows, dtype=bool)
    for task in data.tasks:
        own = data.mask[task.name]
        target[own] = data.targets[task.name][own]
        known |= own
    return [(data.origin.target_column or "(common)", target, known)]


def _correlations(columns: list[Column], target: np.ndarray, rows: np.ndarray) -> np.ndarray:
    if not columns or len(rows) < 3:
        return np.zeros(len(columns))
    values = np.stack([column.values[rows] for column in columns])  # (p, n)
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    y = np.where(known, target[rows].astype(np.float64), 0.0)
    x = np.where(known, values, 0.0)
    x = np.where(known, x - x.sum(axis=1, keepdims=True) / count, 0.0)
    y = np.where(known, y - y.sum(axis=1, keepdims=True) / count, 0.0)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    usable = (scale > 0) & (known.sum(axis=1) >= max(3, len(rows) / 2))
    return np.where(usable, (x * y).sum(axis=1) / np.where(usable, scale, 1.0), 0.0)


def _same_partition(column: Column, target: np.ndarray, rows: np.ndarray) -> bool:
    """True if the values of a column and the classes correspond one to one."""
    values, classes = column.values[rows], target[rows]
    known = ~column.is_missing[rows]
    if known.sum() < max(3, len(rows) / 2):
        return False
    distinct, codes = np.unique(values[known], return_inverse=True)
    used = np.unique(classes[known])
    if not 2 <= len(distinct) == len(used):
        return False
    return len(np.unique(codes * (used.max() + 1) + classes[known])) == len(distinct)
