"""Data loaders of users as batches, and the validation score that their training labels define."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from taskloom.data.batch import Batch
from taskloom.data.mask import is_labelled
from taskloom.errors import DataError, TaskError
from taskloom.fit.training import Objective
from taskloom.task import Task

__all__ = ["LoaderBatches", "TrainingBatches", "objective_of"]


class LoaderBatches:
    """The batches of a data loader as :class:`Batch` objects."""

    def __init__(self, loader: Iterable[Any], tasks: Sequence[Task]) -> None:
        self._loader = loader
        self._tasks = {task.name: task for task in tasks}

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        for item in self._loader:
            yield self._batch(item)

    def _batch(self, item: Any) -> Batch:
        if isinstance(item, Batch):
            return item
        if not isinstance(item, (tuple, list)) or len(item) not in (2, 3) or not isinstance(item[1], Mapping):
            raise DataError(
                f"a loader yielded {type(item).__name__}; expected a Batch, (inputs, {{task: target}}) or "
                "(inputs, {task: target}, {task: mask})"
            )
        inputs, given = item[0], item[1]
        masks = item[2] if len(item) == 3 else {}
        unknown = sorted(set(given) - set(self._tasks) - {task.column for task in self._tasks.values()})
        if unknown:
            raise TaskError(f"a loader yielded targets of {unknown}; the tasks are {list(self._tasks)}")
        targets, mask = {}, {}
        for name, task in self._tasks.items():
            key = name if name in given else task.column  # two predictions of one target have it in common
            if key not in given:
                continue
            n_classes, target, known = task.kind.n_classes, given[key], masks.get(key)
            if known is None:
                known = torch.from_numpy(is_labelled(target, codes=bool(n_classes)))
            targets[name] = torch.where(known, target, torch.zeros_like(target))
            targets[name] = targets[name].long() if n_classes else targets[name]
            mask[name] = known
        return Batch(inputs, targets, mask)


class TrainingBatches(LoaderBatches):
    """The same for training: what shuffles is told the epoch."""

    @property
    def sampler(self) -> TrainingBatches:
        """Where Lightning looks for ``set_epoch``."""
        return self

    def part(self, split: str) -> TrainingBatches:
        """All batches: a loader cannot be divided. Says so when a phase wants weights and policy on different rows."""
        if split != "train":
            warnings.warn(
                f"the model wants the {split!r} part of the training data, which a data loader cannot be divided into; "
                "weights and policy are learned on the same batches. Give a MultiTaskData or TaskTensors to have them "
                "learned on different rows",
                stacklevel=2,
            )
        return self

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to whatever shuffles."""
        loader: Any = self._loader
        for part in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)


def objective_of(batches: LoaderBatches, tasks: Sequence[Task], main: Sequence[str]) -> Objective:
    """The validation score from the training labels, which one pass over the loader collects.

    Raises:
        DataError: a task without a label.
    """
    columns: dict[str, list[torch.Tensor]] = {task.name: [] for task in tasks}
    for batch in batches:
        for name, target in batch.targets.items():
            columns[name].append(target[batch.known(name)].double().reshape(-1))
    labels = {name: torch.cat(parts) if parts else torch.zeros(0) for name, parts in columns.items()}
    for name, label in labels.items():
        if not len(label):
            raise DataError(f"task {name!r} has no labelled row in the training part; give it some or leave it out")
    return Objective.from_labels(tasks, labels, main=main)
