"""Data of several tasks: one object from arrays, data frames, loaders or files, with everything checked at the door.

Two layouts: *multi-label* data have one input per row and several targets, some of which may be missing;
*multi-data-set* data have one target per row and say which task the row belongs to (139 schools, say).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from taskloom.data._arrays import (
    as_inputs,
    as_tasks,
    check_names,
    encode_target,
    group_codes,
    join_parts,
    joined,
    one_number_per_row,
    time_numbers,
)
from taskloom.data._columns import Column, Origin, shorten
from taskloom.data._fingerprint import fingerprint
from taskloom.data._listing import LabelledRows, Listing
from taskloom.data._loader import read_loader
from taskloom.data._schema import Layout, Schema
from taskloom.data.mask import as_array
from taskloom.errors import DataError, TaskError, nearest
from taskloom.task import Kind, Regression, Task, check_tasks

if TYPE_CHECKING:
    from taskloom.data.split import Split

__all__ = ["MultiTaskData"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MultiTaskData:
    """Rows of several tasks: inputs, targets, which targets are known. Immutable; NumPy inside, no framework.

    Build it with :meth:`from_arrays`, :meth:`from_tasks`, :meth:`from_frame`, :meth:`from_loader` or
    :func:`taskloom.read_table`; the constructor itself takes what these have checked.

    Args:
        tasks: the K tasks.
        layout: ``"multi_label"`` (every row may have a label of every task) or ``"multi_data_set"`` (every row
            belongs to one task).
        n_rows: number of rows n.
        targets: task name -> (n,); float64 with NaN where unlabelled, or int64 class codes with -1 where unlabelled.
        mask: task name -> bool (n,), True where labelled.
        inputs: array inputs (n, ...), or None for a table.
        features: feature columns of a table; empty for array inputs.
        task_ids: int64 (n,), index into ``tasks`` of each row; None in the multi-label layout.
        groups: int64 (n,), rows of one group must stay together; None without groups.
        times: float64 (n,), when each row was measured (dates: days since 1970-01-01); None without times.
        common_target: True if all tasks of several data sets predict the same quantity in the same unit, so that
            one head or one scale may serve them all.
        notices: what was ignored or assumed, and what looks suspicious, in sentences.
        origin: source and roles of the columns.

    Example:
        >>> data = MultiTaskData.from_arrays([[0.0], [1.0]], {"a": [1.0, 2.0], "b": [3.0, None]}, {
        ...     "a": Regression(), "b": Regression()})
        >>> data.mask["b"].tolist()
        [True, False]
    """

    tasks: tuple[Task, ...]
    layout: Layout
    n_rows: int
    targets: dict[str, np.ndarray]
    mask: dict[str, np.ndarray]
    inputs: np.ndarray | None = None
    features: tuple[Column, ...] = ()
    task_ids: np.ndarray | None = None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    common_target: bool = False
    notices: tuple[str, ...] = ()
    origin: Origin = field(default_factory=Origin)

    def __post_init__(self) -> None:
        per_row = [("task_ids", self.task_ids), ("groups", self.groups), ("times", self.times)]
        per_row += [(f"target of {name!r}", array) for name, array in self.targets.items()]
        per_row += [(f"mask of {name!r}", array) for name, array in self.mask.items()]
        per_row += [(f"column {column.name!r}", column.values) for column in self.features]
        for name, array in per_row:
            if array is not None and array.shape != (self.n_rows,):
                raise DataError(f"{name} has shape {array.shape}, expected ({self.n_rows},): one entry per row")
        if self.inputs is not None and len(self.inputs) != self.n_rows:
            raise DataError(f"inputs have {len(self.inputs)} rows, expected {self.n_rows}")
        for array in (self.inputs, *(array for _, array in per_row)):
            if array is not None:
                array.flags.writeable = False

    @classmethod
    def from_arrays(
        cls,
        X: Any,
        y: Mapping[str, Any],
        tasks: Sequence[Task] | Mapping[str, Kind],
        *,
        mask: Mapping[str, Any] | None = None,
        groups: Any = None,
        times: Any = None,
    ) -> MultiTaskData:
        """One input array and several targets (multi-label).

        Args:
            X: inputs (n, features) or (n, ...), any numbers; NaN where a value is missing. Used as they are.
            y: task name -> targets (n,); numbers, or for classes labels or codes 0..C-1. Not labelled: NaN, None, -1 or
                -100 in integer codes, a masked array, or ``mask``.
            tasks: the tasks, or a mapping name -> kind.
            mask: task name -> True where labelled (n,); for the tasks that need one.
            groups: group of each row (n,), any values; rows of a group stay together in grouped splits.
            times: time of each row (n,), numbers or datetime64.

        Raises:
            DataError: shapes do not fit, infinite values, unknown classes, a task without a target.

        Example:
            >>> from taskloom.task import Binary
            >>> data = MultiTaskData.from_arrays(np.zeros((3, 2)), {"a": [0, -1, 1]}, {"a": Binary()})
            >>> data.n_rows, data.mask["a"].tolist()
            (3, [True, False, True])
        """
        inputs = np.array(as_inputs(X))
        checked = as_tasks(tasks)
        check_names(y, checked, argument="y")
        check_names(mask or {}, checked, argument="mask", complete=False)
        targets, masks = {}, {}
        for task in checked:
            values = one_number_per_row(y[task.name], len(inputs), name=f"the target of task {task.name!r}")
            given = None if mask is None else mask.get(task.name)
            targets[task.name], masks[task.name] = encode_target(task, values, mask=given)
        return cls(
            tasks=checked,
            layout="multi_label",
            n_rows=len(inputs),
            targets=targets,
            mask=masks,
            inputs=inputs,
            groups=group_codes(groups, len(inputs)),
            times=time_numbers(times, len(inputs)),
        )

    @classmethod
    def from_tasks(
        cls,
        parts: Mapping[str, tuple[Any, Any]],
        kind_or_tasks: Kind | Sequence[Task] | Mapping[str, Kind] | None = None,
        *,
        groups: Mapping[str, Any] | None = None,
        times: Mapping[str, Any] | None = None,
    ) -> MultiTaskData:
        """Each task with rows of its own (multi-data-set).

        Args:
            parts: task name -> (X, y) with X (n_t, ...) and y (n_t,); the X of all tasks have the same features.
            kind_or_tasks: one kind for all tasks, which says that they predict the same quantity in the same unit
                (then one scale serves all of them); default ``Regression()``. Or tasks (or name -> kind), each with
                its own quantity.
            groups: task name -> group of each row (n_t,); equal values in different tasks are the same group.
            times: task name -> time of each row (n_t,).

        Raises:
            DataError: no task, different features, shapes that do not fit.

        Example:
            >>> data = MultiTaskData.from_tasks({"a": ([[0.0]], [1.0]), "b": ([[2.0], [3.0]], [1.0, 2.0])})
            >>> data.task_ids.tolist(), data.targets["a"].tolist()
            ([0, 1, 1], [1.0, nan, nan])
        """
        if not parts:
            raise DataError("parts has no task; give a mapping task name -> (X, y)")
        common = kind_or_tasks is None or isinstance(kind_or_tasks, Kind)
        if kind_or_tasks is None or isinstance(kind_or_tasks, Kind):
            checked = as_tasks(dict.fromkeys(parts, kind_or_tasks or Regression()))
        else:
            checked = as_tasks(kind_or_tasks)
        check_names(parts, checked, argument="parts")
        inputs, targets, masks, sizes = join_parts(parts, checked)
        return cls(
            tasks=checked,
            layout="multi_data_set",
            n_rows=len(inputs),
            targets=targets,
            mask=masks,
            inputs=inputs,
            task_ids=np.repeat(np.arange(len(checked)), sizes),
            groups=group_codes(joined(groups, checked, "groups"), len(inputs)),
            times=time_numbers(joined(times, checked, "times"), len(inputs)),
            common_target=common,
        )

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        targets: str | Task | Sequence[str | Task],
        task_column: str | None = None,
        group_column: str | None = None,
        time_column: str | None = None,
        kinds: Mapping[str, str] | None = None,
        drop: Sequence[str] = (),
    ) -> MultiTaskData:
        """A data frame of polars, pandas, pyarrow or any other library that narwhals knows.

        The arguments are those of :func:`taskloom.read_table`. A target may also be a :class:`~taskloom.Task`, which
        then fixes its kind.

        Raises:
            DataError: everything that :func:`taskloom.read_table` refuses in a table.

        Example:
            >>> import polars
            >>> x = [float(i) for i in range(30)]
            >>> frame = polars.DataFrame({"x": x, "colour": ["red", "blue"] * 15, "y": [v**0.5 for v in x]})
            >>> [column.kind for column in MultiTaskData.from_frame(frame, targets="y").features]
            ['numeric', 'categorical']
        """
        from taskloom.data._frame import Roles, build

        roles = Roles.of(targets, task=task_column, group=group_column, time=time_column, kinds=kinds, drop=drop)
        return cls(**build(frame, roles, source="data frame")).checked()

    @classmethod
    def from_loader(cls, loader: Iterable[Any], tasks: Sequence[Task] | Mapping[str, Kind]) -> MultiTaskData:
        """Everything that a data loader yields, read once into memory.

        Args:
            loader: yields ``(inputs, {task: targets})`` or ``(inputs, {task: targets}, {task: mask})``; arrays or
                tensors. A task that is missing from a batch is not labelled there.
            tasks: the tasks, or a mapping name -> kind.

        Raises:
            DataError: batches of another form, or none.

        Example:
            >>> batches = [(np.zeros((2, 3)), {"a": np.ones(2)}), (np.ones((1, 3)), {})]
            >>> MultiTaskData.from_loader(batches, {"a": Regression()}).mask["a"].tolist()
            [True, True, False]
        """
        checked = as_tasks(tasks)
        inputs, targets, known = read_loader(loader, checked)
        return cls.from_arrays(inputs, targets, checked, mask=known)

    def checked(self) -> MultiTaskData:
        """The same data after the checks of what can be learnt; tables from files and frames went through them.

        Features that copy a target are named in the ``notices`` of the result and in a warning.

        Raises:
            DataError: a task has no label, a constant target, fewer than 10 labelled rows, or a class of one member.

        Warns:
            LeakWarning: a feature is a copy of a target.

        Example:
            >>> x = np.arange(12.0)
            >>> data = MultiTaskData.from_arrays(x[:, None], {"a": x % 5}, {"a": Regression()})
            >>> data.checked().notices
            ()
        """
        from taskloom.data._checks import check_learnable, leaks

        check_learnable(self)
        found = tuple(leak for leak in leaks(self) if leak not in self.notices)
        return replace(self, notices=self.notices + found) if found else self

    def take(self, rows: Any) -> MultiTaskData:
        """The same tasks on some rows.

        Args:
            rows: row indices (m,) or bool (n,).

        Example:
            >>> data = MultiTaskData.from_arrays([[0.0], [1.0]], {"a": [1.0, 2.0]}, {"a": Regression()})
            >>> data.take([1]).targets["a"].tolist()
            [2.0]
        """
        index = as_array(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            n_rows=len(index),
            targets={name: array[index] for name, array in self.targets.items()},
            mask={name: array[index] for name, array in self.mask.items()},
            inputs=None if self.inputs is None else self.inputs[index],
            features=tuple(column.take(index) for column in self.features),
            task_ids=None if self.task_ids is None else self.task_ids[index],
            groups=None if self.groups is None else self.groups[index],
            times=None if self.times is None else self.times[index],
        )

    def only(self, tasks: str | Sequence[str]) -> MultiTaskData:
        """The data of some tasks: all rows in the multi-label layout, the rows of these tasks otherwise.

        Args:
            tasks: names, in the order wanted.

        Raises:
            TaskError: an unknown name, or a name twice.

        Example:
            >>> data = MultiTaskData.from_tasks({"a": ([[0.0]], [1.0]), "b": ([[2.0]], [3.0])})
            >>> data.only("b").targets["b"].tolist()
            [3.0]
        """
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        positions = [self._position(name) for name in names]
        chosen = replace(
            self,
            tasks=check_tasks(self.tasks[position] for position in positions),
            targets={name: self.targets[name] for name in names},
            mask={name: self.mask[name] for name in names},
        )
        if self.task_ids is None:
            return chosen
        new_position = np.full(len(self.tasks), -1)
        new_position[positions] = np.arange(len(positions))
        return replace(chosen, task_ids=new_position[self.task_ids]).take(self.rows_of(names))

    def rows_of(self, tasks: str | Sequence[str]) -> np.ndarray:
        """Rows that belong to some tasks, int64: all rows in the multi-label layout.

        With :meth:`Split.within` a split of all data becomes the split of ``only(tasks)``.
        """
        positions = [self._position(name) for name in ([tasks] if isinstance(tasks, str) else tasks)]
        if self.task_ids is None:
            return np.arange(self.n_rows)
        return np.flatnonzero(np.isin(self.task_ids, positions))

    def _position(self, name: str) -> int:
        names = [task.name for task in self.tasks]
        if name not in names:
            raise TaskError(f"unknown task {name!r}.{nearest(name, names)}")
        return names.index(name)

    @property
    def schema(self) -> Schema:
        """What new rows must look like, for reading them with :func:`taskloom.data.read_features`."""
        return Schema(
            layout=self.layout,
            tasks=self.tasks,
            features=tuple((column.name, column.kind) for column in self.features),
            input_shape=() if self.inputs is None else self.inputs.shape[1:],
            task_column=self.origin.task_column,
            common_target=self.common_target,
        )

    @property
    def n_features(self) -> int:
        """Number of feature columns, or of numbers in one sample of array inputs."""
        return len(self.features) if self.inputs is None else int(np.prod(self.inputs.shape[1:]))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content (names, kinds, every value): equal data have equal fingerprints on every machine."""
        return fingerprint(self)

    def labelled(self, split: Split | None = None) -> LabelledRows:
        """Labelled rows of each task, in each part of a split or in all rows.

        Args:
            split: the split to count in; default: all rows.

        Example:
            >>> data = MultiTaskData.from_arrays([[0.0], [1.0]], {"a": [1.0, None]}, {"a": Regression()})
            >>> data.labelled().records()
            [{'task': 'a', 'part': 'all', 'rows': 1}]
        """
        parts = {"all": np.arange(self.n_rows)} if split is None else split.parts
        counts = [[int(self.mask[task.name][rows].sum()) for rows in parts.values()] for task in self.tasks]
        return LabelledRows(tuple(task.name for task in self.tasks), tuple(parts), np.asarray(counts, dtype=np.int64))

    def describe(self) -> Listing:
        """Every column with its role and kind: what is shown before anything is trained.

        Example:
            >>> data = MultiTaskData.from_arrays([[0.0], [1.0]], {"a": [1.0, None]}, {"a": Regression()})
            >>> print(data.describe())
            column    role     kind        rows  detail
            --------  -------  ----------  ----  ----------------------
            a         target   regression     1  1 to 1; 1 not labelled
            (inputs)  feature  float64        2  1 per row
        """
        from taskloom.data._describe import describe

        return describe(self)

    def __repr__(self) -> str:
        tasks = f"{len(self.tasks)} tasks: {shorten(tuple(task.name for task in self.tasks))}"
        return f"MultiTaskData({self.layout}, {tasks}; {self.n_rows} rows, {self.n_features} features)"
