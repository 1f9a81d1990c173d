"""``tl.fit``: train one multi-task network in one call."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from taskloom._rng import stream_seed
from taskloom.balance import equal
from taskloom.balance.base import Balancer
from taskloom.data.batch import Batch
from taskloom.data.mask import is_labelled
from taskloom.data.multitask import MultiTaskData
from taskloom.data.prepare import Preparation
from taskloom.data.split import Splitter, default_split
from taskloom.data.tensors import TaskTensors
from taskloom.errors import DataError, TaskError
from taskloom.fit.checkpoint import save
from taskloom.fit.module import MultiTaskModule
from taskloom.fit.result import FitResult
from taskloom.fit.trainer import TrainerOptions, run_trainer, train_with_trainer
from taskloom.fit.training import Objective, OptimiserSettings, Schedule, Training
from taskloom.nn import HardSharing
from taskloom.nn.model import MultiTaskModel
from taskloom.task import Task, check_tasks

__all__ = ["fit"]

Loaders = tuple[Iterable[Any], Iterable[Any]]


def fit(
    model: nn.Module,
    data: MultiTaskData | TaskTensors | Loaders,
    *,
    balancer: Balancer | None = None,
    tasks: Sequence[Task] | None = None,
    split: Splitter | None = None,
    main: str | None = None,
    optimiser: OptimiserSettings | None = None,
    schedule: Schedule | None = None,
    trainer: TrainerOptions | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> FitResult:
    """Train a multi-task network by Lightning's Trainer under automatic optimisation.

    Training stops when the validation score has not improved for ``schedule.patience`` epochs; the result is the
    network of the best epoch. The model that is given keeps its weights.

    Args:
        model: a :class:`~taskloom.nn.MultiTaskModel`, or any ``nn.Module`` that encodes an input as features
            (n, d): it is then shared by all tasks, with a linear head per task.
        data: a :class:`~taskloom.MultiTaskData` (split and prepared here: ``result.preparation`` keeps how), prepared
            :class:`~taskloom.data.TaskTensors`, or a pair of data loaders (training, validation) that yield
            :class:`~taskloom.data.Batch` objects, ``(inputs, {task: target})``, or ``(inputs, {task: target},
            {task: mask})``.
        balancer: how losses or gradients are combined, for example ``tl.pcgrad()``; default ``tl.equal()``.
        tasks: the tasks, needed with data loaders.
        split: how a :class:`~taskloom.MultiTaskData` is split; default by group, by time, or at random.
        main: the task whose validation loss counts; default all that are not auxiliary.
        optimiser: learning rate and weight decay; default AdamW's own.
        schedule: epochs, patience, batch size; default 100, 10, chosen by the number of rows.
        trainer: accelerator, devices, precision, clipping, accumulation, callbacks; default the CPU.
        seed: base seed of split, head weights, row order and the balancer.
        out: folder for the model, its history and the last checkpoint; a killed call that is repeated goes on from
            that checkpoint.

    Returns:
        the trained network (``.model``), its history and its validation score.

    Raises:
        TaskError: tasks are missing or are not the model's.
        DataError: loaders of another form, or a task without labels.

    Example:
        >>> import taskloom as tl
        >>> x = np.random.default_rng(0).normal(size=(80, 3))
        >>> data = tl.MultiTaskData.from_arrays(
        ...     x, {"a": x[:, 0] + x[:, 1], "b": x[:, 1] - x[:, 2]},
        ...     tasks=[tl.Task(name="a", kind=tl.Regression()), tl.Task(name="b", kind=tl.Regression())])
        >>> encoder = nn.Sequential(nn.Linear(3, 8), nn.ReLU())
        >>> result = tl.fit(encoder, data, balancer=tl.pcgrad(), schedule=Schedule(max_epochs=2))
        >>> result.history.epochs, sorted(result.model(torch.zeros(1, 3)))
        (2, ['a', 'b'])
    """
    balancer = balancer if balancer is not None else equal()
    options = trainer or TrainerOptions()
    folder = Path(out) if out is not None else None
    if folder is not None and options.checkpoints is None:
        options = _with_checkpoints(options, folder / "last")
    optimiser, schedule = optimiser or OptimiserSettings(), schedule or Schedule()
    mains = (main,) if main is not None else ()
    preparation = None
    if isinstance(data, MultiTaskData):
        data, preparation = _prepared(data.checked(), split, seed)
    if isinstance(data, TaskTensors):
        network = _network(model, data.tasks, data.inputs[:2], seed)
        network_data = _in_type_of(network, data)
        training = Training(
            network,
            balancer,
            network_data,
            Objective.of(network_data, main=mains),
            optimiser=optimiser,
            schedule=schedule,
            seed=seed,
        )
        result = train_with_trainer(training, options=options)
    else:
        result = _fit_loaders(model, data, tasks, balancer, mains, optimiser, schedule, options, seed)
    result = result.prepared_by(preparation)
    if folder is not None:
        save(result, folder)
    return result


def _with_checkpoints(options: TrainerOptions, folder: Path) -> TrainerOptions:
    return replace(options, checkpoints=folder)


def _prepared(data: MultiTaskData, split: Splitter | None, seed: int) -> tuple[TaskTensors, Preparation]:
    parts = (split if split is not None else default_split(data)).split(data, seed)
    preparation = Preparation.fit(data, parts.train)
    known = np.stack([data.mask[task.name] for task in data.tasks], axis=1)
    tensors = TaskTensors(
        tasks=data.tasks,
        inputs=torch.from_numpy(np.array(preparation.inputs(data), dtype=np.float32)),
        targets=torch.from_numpy(np.where(known, preparation.targets(data), 0.0)).float(),
        mask=torch.from_numpy(known),
        train=parts.train,
        validation=parts.validation,
        task_ids=data.task_ids,
    )
    return tensors, preparation


def _network(model: nn.Module, tasks: Sequence[Task], example: Any, seed: int) -> MultiTaskModel:
    """The model itself, or an encoder under linear heads whose weights follow the seed."""
    if isinstance(model, MultiTaskModel):
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init"))
        return HardSharing(model, tasks, example=example)


def _in_type_of(model: nn.Module, tensors: TaskTensors) -> TaskTensors:
    """Inputs and targets in the floating point type of the model."""
    first = next(model.parameters(), None)
    if first is None or first.dtype == tensors.inputs.dtype:
        return tensors
    return replace(tensors, inputs=tensors.inputs.to(first.dtype), targets=tensors.targets.to(first.dtype))


# -- data loaders -------------------------------------------------------------------------------------------------


def _fit_loaders(
    model: nn.Module,
    loaders: Loaders,
    tasks: Sequence[Task] | None,
    balancer: Balancer,
    main: Sequence[str],
    optimiser: OptimiserSettings,
    schedule: Schedule,
    options: TrainerOptions,
    seed: int,
) -> FitResult:
    if tasks is None:
        if not isinstance(model, MultiTaskModel):
            raise TaskError("data loaders do not say what the tasks are; pass tasks=[tl.Task(...), ...]")
        tasks = model.task_objects
    checked = check_tasks(tasks)
    train, validation = (_LoaderBatches(loader, checked) for loader in loaders)
    first = next(iter(train), None)
    if first is None:
        raise DataError("the training loader yields no batch; expected batches of (inputs, {task: target})")
    network = _network(model, checked, first.inputs, seed)
    balancer.bind(checked)
    module = MultiTaskModule(
        copy.deepcopy(network),
        copy.deepcopy(balancer),
        tasks=checked,
        objective=_objective(train, checked, main),
        optimiser=optimiser,
    )
    every = schedule.measure_every
    return run_trainer(
        module,
        train,
        validation,
        skeleton=network,
        schedule=schedule,
        measures=lambda epoch: every > 0 and len(checked) > 1 and epoch % every == 0,
        options=options,
    )


class _LoaderBatches:
    """The batches of a data loader as :class:`Batch` objects."""

    def __init__(self, loader: Iterable[Any], tasks: Sequence[Task]) -> None:
        self._loader = loader
        self.sampler = self  # where Lightning looks for set_epoch
        self._tasks = {task.name: task for task in tasks}

    def __len__(self) -> int:
        return len(self._loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        for item in self._loader:
            yield self._batch(item)

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on to whatever shuffles."""
        loader: Any = self._loader
        for part in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)

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
        unknown = sorted(set(given) - set(self._tasks))
        if unknown:
            raise TaskError(f"a loader yielded targets of {unknown}; the tasks are {list(self._tasks)}")
        targets, mask = {}, {}
        for name, target in given.items():
            n_classes = self._tasks[name].kind.n_classes
            known = masks.get(name)
            if known is None:
                known = torch.from_numpy(is_labelled(target, codes=bool(n_classes)))
            targets[name] = torch.where(known, target, torch.zeros_like(target))
            targets[name] = targets[name].long() if n_classes else targets[name]
            mask[name] = known
        return Batch(inputs, targets, mask)


def _objective(batches: _LoaderBatches, tasks: Sequence[Task], main: Sequence[str]) -> Objective:
    """The validation score from the training labels, which one pass over the loader collects."""
    columns: dict[str, list[torch.Tensor]] = {task.name: [] for task in tasks}
    for batch in batches:
        for name, target in batch.targets.items():
            columns[name].append(target[batch.mask[name]].double().reshape(-1))
    labels = {name: torch.cat(parts) if parts else torch.zeros(0) for name, parts in columns.items()}
    rows = sum(len(column) for column in labels.values())
    targets, mask = torch.zeros(rows, len(tasks), dtype=torch.float64), torch.zeros(rows, len(tasks), dtype=torch.bool)
    start = 0
    for position, column in enumerate(labels.values()):
        targets[start : start + len(column), position] = column
        mask[start : start + len(column), position] = True
        start += len(column)
    return Objective.of(
        TaskTensors(
            tasks=tuple(tasks),
            inputs=torch.zeros(rows, 0),
            targets=targets,
            mask=mask,
            train=np.arange(rows),
            validation=np.zeros(0, dtype=np.int64),
        ),
        main=main,
    )
