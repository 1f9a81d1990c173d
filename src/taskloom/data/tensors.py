"""A prepared data set as dense tensors: what training slices, instead of fetching row by row.

One object holds everything that a run needs: inputs, targets, which targets are known, and the rows of the
training and validation parts. Several runs (seeds, learning rates) share the same tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from taskloom._rng import numpy_stream
from taskloom.data.batch import Batch, assemble
from taskloom.data.multitask import MultiTaskData
from taskloom.data.order import RowOrder, automatic_batch_size
from taskloom.data.prepare import Preparation
from taskloom.data.split import Split
from taskloom.errors import DataError, TaskError, nearest
from taskloom.task import Task, check_tasks

__all__ = ["TaskTensors"]

_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class TaskTensors:
    """Dense tensors of several tasks, with the rows of each part.

    Args:
        tasks: the K tasks.
        inputs: (n, ...) floating point.
        targets: (n, K) floating point; classes as codes; anything where unknown (the mask decides).
        mask: (n, K) bool, True where the target is known.
        train: (n_train,) int64 rows of the training part.
        validation: (n_validation,) int64 rows of the validation part.
        task_ids: (n,) int64, the task of each row, for several data sets; None when all tasks share their inputs.

    Raises:
        DataError: shapes do not fit, a row's task is not there, or a task has no known target in the training part.

    Example:
        >>> from taskloom.task import Regression
        >>> x = torch.arange(6.0).reshape(6, 1)
        >>> tensors = TaskTensors(
        ...     tasks=(Task(name="a", kind=Regression()),), inputs=x, targets=2 * x,
        ...     mask=torch.ones(6, 1, dtype=torch.bool), train=np.arange(4), validation=np.arange(4, 6))
        >>> tensors.order(batch_size=2, seed=0).steps, tensors.labelled_rows("train")
        (2, (4,))
    """

    tasks: tuple[Task, ...]
    inputs: Tensor
    targets: Tensor
    mask: Tensor
    train: np.ndarray
    validation: np.ndarray
    task_ids: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        expected = (len(self.inputs), len(self.tasks))
        for name in ("targets", "mask"):
            found = tuple(getattr(self, name).shape)
            if found != expected:
                raise DataError(f"{name} must have shape (rows, tasks) = {expected}, found {found}")
        ids = self.task_ids
        if ids is not None and (ids.shape != expected[:1] or not np.isin(ids, np.arange(len(self.tasks))).all()):
            raise DataError(
                f"task_ids must give the place of a task, 0 to {len(self.tasks) - 1}, for each of the {expected[0]} "
                f"rows; found shape {ids.shape} with values {np.unique(ids)[:5].tolist()}"
            )
        for task, rows in zip(self.tasks, self.labelled_rows("train"), strict=True):
            if rows == 0:
                raise DataError(
                    f"task {task.name!r} has no labelled row in the training part; give it some or leave it out"
                )

    @classmethod
    def prepared(
        cls, data: MultiTaskData, preparation: Preparation, parts: Split, *, dtype: torch.dtype
    ) -> TaskTensors:
        """Tensors of a data set under a split, prepared by its training rows.

        Args:
            data: the data set.
            preparation: fitted on ``parts.train``.
            parts: the rows of each part.
            dtype: floating point type of inputs and targets.
        """
        known = np.stack([data.mask[task.name] for task in data.tasks], axis=1)  # (n, K)
        return cls(
            tasks=data.tasks,
            inputs=torch.from_numpy(np.array(preparation.inputs(data))).to(dtype),
            targets=torch.from_numpy(np.where(known, preparation.targets(data), 0.0)).to(dtype),
            mask=torch.from_numpy(known),
            train=parts.train,
            validation=parts.validation,
            task_ids=data.task_ids,
        )

    @property
    def per_task(self) -> bool:
        """True when every task has rows of its own (several data sets)."""
        return self.task_ids is not None

    @cached_property
    def _known(self) -> np.ndarray:
        return self.mask.numpy()

    @cached_property
    def _is_complete(self) -> bool:
        return self.task_ids is None and bool(self.mask.all())

    @cached_property
    def _orders(self) -> dict[tuple[int | None, int], RowOrder]:
        return {}

    @cached_property
    def _rows_of_part(self) -> dict[str, np.ndarray | list[np.ndarray]]:
        return {}

    def rows(self, part: str) -> np.ndarray | list[np.ndarray]:
        """Rows of ``"train"`` or ``"validation"`` with any known target; one array per task for several data sets."""
        if part not in self._rows_of_part:
            self._rows_of_part[part] = self._find_rows(getattr(self, part))
        return self._rows_of_part[part]

    def _find_rows(self, chosen: np.ndarray) -> np.ndarray | list[np.ndarray]:
        known = self._known[chosen]
        if self.task_ids is None:
            labelled: np.ndarray = chosen[known.any(axis=1)]
            return labelled
        ids = self.task_ids[chosen]
        own = known[np.arange(len(chosen)), ids]
        return [chosen[own & (ids == position)] for position in range(len(self.tasks))]

    def train_part(self, name: str, *, seed: int) -> np.ndarray:
        """Rows of the ``"weights"`` part (80 %) or the ``"policy"`` part of the training rows.

        Rows of each task, or with the same labels known, are divided separately, so that a task with two rows or more
        has rows in both parts.
        """
        known = self._known[self.train]
        kinds = known if self.task_ids is None else self.task_ids[self.train][:, None]
        _, kind = np.unique(kinds, axis=0, return_inverse=True)
        policy = np.zeros(len(self.train), dtype=bool)
        for number in range(int(kind.max()) + 1):
            own = np.flatnonzero(kind.reshape(-1) == number)
            chosen = max(1, round(0.2 * len(own))) if len(own) > 1 else 0
            policy[numpy_stream(seed, "policy part", number).permutation(own)[:chosen]] = True
        rows: np.ndarray = self.train[policy if name == "policy" else ~policy]
        return rows

    def labelled_rows(self, part: str) -> tuple[int, ...]:
        """Known targets of each task in a part; with several data sets, in the task's own rows."""
        rows = self.rows(part)
        if not isinstance(rows, np.ndarray):
            return tuple(len(own) for own in rows)
        return tuple(int(count) for count in self._known[rows].sum(axis=0))

    def order(self, *, batch_size: int | None = None, seed: int) -> RowOrder:
        """Order of the training rows; ``batch_size=None`` chooses by :func:`automatic_batch_size`.

        Equal calls return one object: trainings that differ in other settings share their order.
        """
        if (batch_size, seed) not in self._orders:
            rows = self.rows("train")
            counts = [len(rows)] if isinstance(rows, np.ndarray) else [len(part) for part in rows]
            size = batch_size if batch_size is not None else automatic_batch_size(counts, per_task=self.per_task)
            self._orders[batch_size, seed] = RowOrder(rows, batch_size=size, seed=seed)
        return self._orders[batch_size, seed]

    def batch(self, rows: np.ndarray, real: np.ndarray) -> Batch:
        """The batch of some rows: (b,) rows, or (K, b) for several data sets; ``real`` is False on padding."""
        return next(self.batches(rows[None], real[None]))

    def batches(self, rows: np.ndarray, real: np.ndarray) -> Iterator[Batch]:
        """The batches of several steps, one after another: what :meth:`batch` takes with a first axis of steps.

        Rows of one data set lose their padding here: batches of one network need not all be of one size. Their values
        are fetched for as many steps at once as fit into a cache, since fetching costs as much as a small layer.
        """
        if self.per_task:
            for own, known in zip(rows, real, strict=True):
                yield assemble(self.tasks, *self.gather(own, known), per_task=True)
            return
        row_bytes = self.inputs[:1].nbytes + self.targets[:1].nbytes
        many = max(1, _BYTES_AT_ONCE // max(1, row_bytes * rows.shape[1]))
        for start in range(0, len(rows), many):
            some, known = rows[start : start + many], real[start : start + many]
            sizes = known.sum(axis=1).tolist()
            index = torch.from_numpy(some[known])
            inputs, targets = (part.index_select(0, index).split(sizes) for part in (self.inputs, self.targets))
            masks = [None] * len(sizes) if self._is_complete else self.mask.index_select(0, index).split(sizes)
            for one in zip(inputs, targets, masks, strict=True):
                yield assemble(self.tasks, *one, per_task=False)

    def gather(self, rows: np.ndarray, real: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Dense inputs, targets and mask of some rows, in the form that :func:`assemble` takes."""
        index = torch.from_numpy(np.ascontiguousarray(rows))
        keep = torch.from_numpy(np.ascontiguousarray(real))
        if self.task_ids is None:  # index_select is the quickest way to fetch whole rows
            mask = self.mask.index_select(0, index)
            return self.inputs.index_select(0, index), self.targets.index_select(0, index), mask & keep[:, None]
        task = torch.arange(len(self.tasks))[:, None].expand_as(index)
        return self.inputs[index], self.targets[index, task], self.mask[index, task] & keep

    def part(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """All rows of a part at once, padded per task for several data sets: ``(rows, real)`` for :meth:`gather`."""
        rows = self.rows(name)
        if isinstance(rows, np.ndarray):
            return rows, np.ones(len(rows), dtype=bool)
        width = max(1, max(len(part) for part in rows))
        padded = np.zeros((len(rows), width), dtype=np.int64)
        real = np.zeros((len(rows), width), dtype=bool)
        for position, part in enumerate(rows):
            padded[position, : len(part)] = part
            real[position, : len(part)] = True
        return padded, real

    def only(self, names: Sequence[str]) -> TaskTensors:
        """The same data for some of the tasks.

        A single task of several data sets becomes an ordinary single-input data set of its own rows.

        Raises:
            TaskError: a task that is not there.
        """
        known = [task.name for task in self.tasks]
        for name in names:
            if name not in known:
                raise TaskError(f"unknown task {name!r}.{nearest(name, known)}")
        columns = [known.index(name) for name in names]
        tasks = tuple(self.tasks[column] for column in columns)
        if self.task_ids is None:
            return replace(self, tasks=tasks, targets=self.targets[:, columns], mask=self.mask[:, columns])
        position_of = np.full(len(known), -1)
        position_of[columns] = np.arange(len(columns))
        own = np.flatnonzero(position_of[self.task_ids] >= 0)
        new_row = np.full(len(self.task_ids), -1)
        new_row[own] = np.arange(len(own))
        parts = {name: new_row[getattr(self, name)] for name in ("train", "validation")}
        ids = position_of[self.task_ids[own]]
        rows = torch.from_numpy(own)
        return TaskTensors(
            tasks=tasks,
            inputs=self.inputs[rows],
            targets=self.targets[rows][:, columns],
            mask=self.mask[rows][:, columns],
            train=parts["train"][parts["train"] >= 0],
            validation=parts["validation"][parts["validation"] >= 0],
            task_ids=None if len(columns) == 1 else ids,
        )
