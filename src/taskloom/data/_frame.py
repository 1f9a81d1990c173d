"""From a data frame and the roles of its columns to the pieces of :class:`MultiTaskData`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from taskloom.data._arrays import empty_targets, encode_target
from taskloom.data._columns import Column, IgnoredColumn, Origin, shorten
from taskloom.data._infer import (
    FEATURE_KINDS,
    TARGET_KINDS,
    RawColumn,
    class_texts,
    infer_feature,
    infer_target,
    make_feature,
    text_column,
)
from taskloom.data._schema import Schema
from taskloom.data.mask import is_missing
from taskloom.errors import DataError, nearest
from taskloom.task import Task, check_tasks

__all__ = ["Roles", "build", "build_features"]


@dataclass(frozen=True)
class Roles:
    """Which column plays which role, checked for contradictions.

    Example:
        >>> Roles.of("y", group="who").columns
        {'y': 'target', 'who': 'group_column'}
    """

    targets: tuple[str | Task, ...]
    task: str | None = None
    group: str | None = None
    time: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        targets: str | Task | Sequence[str | Task],
        *,
        task: str | None = None,
        group: str | None = None,
        time: str | None = None,
        kinds: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
    ) -> Roles:
        """Check the arguments of a public door."""
        listed = (targets,) if isinstance(targets, str | Task) else tuple(targets)
        dropped = (drop,) if isinstance(drop, str) else tuple(drop)
        roles = cls(listed, task, group, time, dict(kinds or {}), dropped)
        if not listed:
            raise DataError("targets names no column; name at least one, for example targets=['price']")
        if task is not None and len(listed) > 1:
            raise DataError(
                f"task_column={task!r} goes with one target, found {len(listed)}; leave out task_column for several "
                "targets "
                "per row, or read the file once per target"
            )
        seen: dict[str, str] = {}
        for column, role in roles._pairs():
            if column in seen:
                raise DataError(
                    f"column {column!r} is named as {seen[column]} and as {role}; a column has one role. Remove it "
                    "from one "
                    "of them"
                )
            seen[column] = role
        for column, kind in roles.kinds.items():
            if kind not in (*FEATURE_KINDS, *TARGET_KINDS):
                raise DataError(f"kinds[{column!r}] is {kind!r}.{nearest(kind, (*FEATURE_KINDS, *TARGET_KINDS))}")
        return roles

    def _pairs(self) -> list[tuple[str, str]]:
        pairs = [(entry.column if isinstance(entry, Task) else entry, "target") for entry in self.targets]
        named = [(self.task, "task_column"), (self.group, "group_column"), (self.time, "time_column")]
        pairs += [(column, role) for column, role in named if column is not None]
        return pairs + [(column, "drop") for column in self.drop]

    @property
    def columns(self) -> dict[str, str]:
        """Column -> role."""
        return dict(self._pairs())

    def check_against(self, columns: Sequence[str]) -> None:
        """Compare with the columns that there are.

        Raises:
            DataError: an unknown column (with the nearest name), or a kind that does not fit the role.
        """
        for column, role in self.columns.items():
            if column not in columns:
                word = "target" if role == "target" else role
                raise DataError(f"{word} {column!r} is no column of the table.{nearest(column, columns)}")
        for column, kind in self.kinds.items():
            if column not in columns:
                raise DataError(f"kinds names {column!r}, which is no column of the table.{nearest(column, columns)}")
            role = self.columns.get(column, "feature")
            wanted = TARGET_KINDS if role == "target" else FEATURE_KINDS
            if role in ("target", "feature") and kind not in wanted:
                raise DataError(
                    f"kinds[{column!r}] is {kind!r}, but the column is a {role}; choose one of {', '.join(wanted)}"
                )


def build(frame: Any, roles: Roles, *, source: str, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of :class:`MultiTaskData` from a frame."""
    table = _open(frame, source)
    names = list(table.columns)
    roles.check_against(names)
    raws = {name: _raw(table[name]) for name in names if name not in roles.drop}
    said = list(notices)
    n_rows = len(table)
    if roles.task is not None:
        has_task = raws[roles.task].known
        if not has_task.all():
            said.append(f"{int((~has_task).sum())} rows name no task in column {roles.task!r} and were left out")
            raws = {name: raw.take(np.flatnonzero(has_task)) for name, raw in raws.items()}
            n_rows = int(has_task.sum())
    pieces = _several_data_sets(raws, roles, said) if roles.task is not None else _several_targets(raws, roles, said)
    features, ignored = _features([raws[name] for name in names if name not in roles.columns], roles.kinds, said)
    if not features:
        unusable = shorten(tuple(column.name for column in ignored))
        raise DataError(
            f"{source} has no feature column: besides targets and other roles there is "
            f"{f'only what cannot be used ({unusable})' if ignored else 'nothing'}; add columns to predict from"
        )
    unlabelled = n_rows - int(np.any(list(pieces["mask"].values()), axis=0).sum())
    if unlabelled:
        said.append(f"{unlabelled} of {n_rows} rows have no label of any task; they are in no part of a split")
    if roles.group is not None and roles.time is not None:
        said.append("both a group and a time column are given: name the split that you want")
    ignored += [IgnoredColumn(name, "dropped", "left out on request") for name in roles.drop]
    columns = [roles.targets[0].column if isinstance(roles.targets[0], Task) else roles.targets[0]]
    return {
        **pieces,
        "n_rows": n_rows,
        "features": tuple(features),
        "groups": None if roles.group is None else _groups(raws[roles.group], said),
        "times": None if roles.time is None else _times(raws[roles.time]),
        "notices": tuple(said),
        "origin": Origin(
            source=source,
            target_column=columns[0] if roles.task else None,
            task_column=roles.task,
            group_column=roles.group,
            time_column=roles.time,
            times_are_dates=roles.time is not None and raws[roles.time].holds_dates,
            ignored=tuple(ignored),
        ),
    }


def build_features(frame: Any, schema: Schema, *, source: str, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of :class:`MultiTaskData` from new rows without targets."""
    if not schema.features:
        raise DataError(
            f"these data were arrays of shape (n, {', '.join(map(str, schema.input_shape))}); new rows are arrays "
            "too. Use "
            "MultiTaskData.from_arrays"
        )
    table = _open(frame, source)
    names = list(table.columns)
    wanted = [name for name, _ in schema.features] + ([schema.task_column] if schema.task_column else [])
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{source} has no column {missing[0]!r}, which the model was trained on"
            f"{f' (and {len(missing) - 1} more are missing)' if len(missing) > 1 else ''}.{nearest(missing[0], names)}"
        )
    features = tuple(make_feature(_raw(table[name]), kind) for name, kind in schema.features)
    targets, masks = empty_targets(schema.tasks, len(table))
    task_ids = None
    if schema.layout == "multi_data_set":
        task_ids = _task_ids(table, schema, source)
    return {
        "tasks": schema.tasks,
        "layout": schema.layout,
        "n_rows": len(table),
        "targets": targets,
        "mask": masks,
        "features": features,
        "task_ids": task_ids,
        "common_target": schema.common_target,
        "notices": tuple(notices),
        "origin": Origin(source, task_column=schema.task_column),
    }


def _task_ids(table: Any, schema: Schema, source: str) -> np.ndarray:
    if schema.task_column is None:
        raise DataError("the task of each row is not known: the data of the model had no task column; use from_tasks")
    raw = _raw(table[schema.task_column])
    texts, codes = raw.as_categories()
    known = [task.name for task in schema.tasks]
    for text in texts:
        if text not in known:
            raise DataError(
                f"{source} has the task {text!r}, which the model was not trained on.{nearest(text, known)}"
            )
    if (codes < 0).any():
        raise DataError(
            f"{int((codes < 0).sum())} rows of {source} name no task in column {schema.task_column!r} (the first is "
            "data row "
            f"{int(np.flatnonzero(codes < 0)[0]) + 1}); fill in the task of every row"
        )
    positions = np.asarray([known.index(text) for text in texts], dtype=np.int64)
    return np.asarray(positions[codes])


def _open(frame: Any, source: str) -> Any:
    import narwhals as nw

    names = [str(name) for name in getattr(frame, "columns", [])] or [
        str(n) for n in getattr(frame, "column_names", [])
    ]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise DataError(f"{source} has duplicate columns: {shorten(tuple(duplicates))}; give every column its own name")
    try:
        table = nw.from_native(frame, eager_only=True)
    except TypeError:
        raise DataError(
            f"a data frame is needed (polars, pandas, pyarrow, ...), found {type(frame).__name__}; use "
            "MultiTaskData.from_arrays for arrays and read_table for files"
        ) from None
    if len(table) == 0:
        raise DataError(f"{source} has no rows; a table needs a header and at least 10 rows per task")
    return table


def _raw(series: Any) -> RawColumn:
    """A column of any frame library as numbers, days or texts."""
    name, dtype = str(series.name), series.dtype
    if dtype.is_numeric() or str(dtype) == "Boolean":
        import narwhals as nw

        if str(dtype) == "Boolean":
            values = [None if value is None else str(bool(value)) for value in series.to_list()]
            return text_column(name, values)
        return RawColumn(name, numbers=np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64))
    if dtype.is_temporal() and str(dtype).startswith("Date"):
        moments = np.asarray(series.to_numpy()).astype("datetime64[us]")
        return RawColumn(name, days=np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 86_400e6))
    values = series.to_list()
    # pandas keeps NaN among texts of object columns
    if str(dtype) == "String" and not any(isinstance(value, float) for value in values):
        return text_column(name, values)
    return text_column(name, [None if is_missing(value) else _plain(value) for value in values])


def _plain(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _several_targets(raws: Mapping[str, RawColumn], roles: Roles, said: list[str]) -> dict[str, Any]:
    tasks, targets, masks = [], {}, {}
    for entry in roles.targets:
        raw = raws[entry.column if isinstance(entry, Task) else entry]
        task = _task_of(entry, raw, roles, said)
        targets[task.name], masks[task.name] = encode_target(task, _values(task, raw))
        tasks.append(task)
    return {"tasks": check_tasks(tasks), "layout": "multi_label", "targets": targets, "mask": masks}


def _several_data_sets(raws: Mapping[str, RawColumn], roles: Roles, said: list[str]) -> dict[str, Any]:
    entry = roles.targets[0]
    raw = raws[entry.column if isinstance(entry, Task) else entry]
    model = _task_of(entry, raw, roles, said)
    assert roles.task is not None
    names, ids = raws[roles.task].as_categories()
    tasks = check_tasks(
        Task(name=name, kind=model.kind, target=raw.name, loss=model.loss, metrics=model.metrics) for name in names
    )
    values, known = encode_target(model, _values(model, raw))
    targets, masks = empty_targets(tasks, len(ids))
    for position, task in enumerate(tasks):
        rows = np.flatnonzero(ids == position)
        targets[task.name][rows] = values[rows]
        masks[task.name][rows] = known[rows]
    return {
        "tasks": tasks,
        "layout": "multi_data_set",
        "targets": targets,
        "mask": masks,
        "task_ids": ids,
        "common_target": True,
    }


def _task_of(entry: str | Task, raw: RawColumn, roles: Roles, said: list[str]) -> Task:
    override = roles.kinds.get(raw.name)
    if isinstance(entry, Task):
        infer_target(raw, entry.kind.name if entry.kind.name in TARGET_KINDS else override)
        return entry
    kind, notice = infer_target(raw, override)
    if notice:
        said.append(notice)
    return Task(name=entry, kind=kind)


def _values(task: Task, raw: RawColumn) -> np.ndarray:
    if task.kind.n_classes:
        return class_texts(raw)
    numbers = raw.as_numbers()
    return numbers if numbers is not None else class_texts(raw)


def _features(
    raws: Sequence[RawColumn], kinds: Mapping[str, str], said: list[str]
) -> tuple[list[Column], list[IgnoredColumn]]:
    features: list[Column] = []
    ignored: list[IgnoredColumn] = []
    for raw in raws:
        found, notices = infer_feature(raw, kinds.get(raw.name))
        said.extend(notices)
        if isinstance(found, Column):
            features.append(found)
        else:
            ignored.append(found)
    by_kind: dict[str, list[str]] = {}
    for column in ignored:
        by_kind.setdefault(column.kind, []).append(column.name)
    for kind, names in by_kind.items():
        said.append(f"ignored ({kind}): {shorten(tuple(names), 12)}")
    return features, ignored


def _groups(raw: RawColumn, said: list[str]) -> np.ndarray:
    texts, codes = raw.as_categories()
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        said.append(f"{len(missing)} rows have no value in the group column {raw.name!r}: each is a group of its own")
        codes = codes.copy()
        codes[missing] = len(texts) + np.arange(len(missing))
    return codes


def _times(raw: RawColumn) -> np.ndarray:
    values = raw.as_numbers()
    if values is None:
        values = make_feature(raw, "date").values
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values))
        raise DataError(
            f"the time column {raw.name!r} has {len(bad)} missing or infinite values (the first in data row "
            f"{bad[0] + 1}); a split by time needs the time of every row"
        )
    return np.array(values)
