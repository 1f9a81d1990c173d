"""The table of columns, roles and kinds that is shown before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from taskloom.data._columns import day_text, shorten
from taskloom.data._listing import Listing

if TYPE_CHECKING:
    from taskloom.data.multitask import MultiTaskData
    from taskloom.task import Task

__all__ = ["describe"]


def describe(data: MultiTaskData) -> Listing:
    """One line per column: name, role, kind, rows with a value, detail; notices below."""
    origin = data.origin
    rows: list[tuple[str | int, ...]] = []
    if origin.target_column is not None:
        labelled = int(np.sum([data.mask[task.name].sum() for task in data.tasks]))
        detail = _target_detail(data, data.tasks) + _missing(data.n_rows - labelled, "not labelled")
        rows.append((origin.target_column, "target", data.tasks[0].kind.name, labelled, detail))
    else:
        for task in data.tasks:
            own = data.n_rows if data.task_ids is None else len(data.rows_of(task.name))
            labelled = int(data.mask[task.name].sum())
            detail = _target_detail(data, (task,)) + _missing(own - labelled, "not labelled")
            name = task.column if task.column == task.name else f"{task.column} (task {task.name})"
            rows.append((name, "target", task.kind.name, labelled, detail))
    if data.task_ids is not None:
        names = shorten(tuple(task.name for task in data.tasks))
        rows.append((origin.task_column or "(task)", "task", "name", data.n_rows, f"{len(data.tasks)} tasks: {names}"))
    if data.groups is not None:
        detail = f"{len(np.unique(data.groups))} groups"
        rows.append((origin.group_column or "(groups)", "group", "name", data.n_rows, detail))
    if data.times is not None:
        write = day_text if origin.times_are_dates else "{:.6g}".format
        detail = f"{write(data.times.min())} to {write(data.times.max())}"
        kind = "date" if origin.times_are_dates else "number"
        rows.append((origin.time_column or "(times)", "time", kind, data.n_rows, detail))
    for column in data.features:
        missing = int(column.is_missing.sum())
        detail = column.detail + _missing(missing, "missing")
        rows.append((column.name, "feature", column.kind, data.n_rows - missing, detail))
    if data.inputs is not None:
        shape = " x ".join(str(size) for size in data.inputs.shape[1:])
        rows.append(("(inputs)", "feature", str(data.inputs.dtype), data.n_rows, f"{shape} per row"))
    rows.extend((column.name, "ignored", column.kind, "", column.reason) for column in origin.ignored)
    return Listing(("column", "role", "kind", "rows", "detail"), tuple(rows), "\n".join(data.notices))


def _target_detail(data: MultiTaskData, tasks: tuple[Task, ...]) -> str:
    if tasks[0].kind.n_classes:
        labels = tuple(getattr(tasks[0].kind, "labels", ()))
        counts = np.zeros(tasks[0].kind.n_classes, dtype=np.int64)
        for task in tasks:
            counts += np.bincount(data.targets[task.name][data.mask[task.name]], minlength=len(counts))
        shown = tuple(f"{label} ({count})" for label, count in zip(labels, counts, strict=True))
        return f"{len(counts)} classes: {shorten(shown)}"
    values = np.concatenate([data.targets[task.name][data.mask[task.name]] for task in tasks])
    return f"{values.min():.4g} to {values.max():.4g}" if values.size else "no label"


def _missing(count: int, word: str) -> str:
    return f"; {count} {word}" if count else ""
