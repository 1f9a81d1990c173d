"""``tl.fit``: train one multi-task network in one call."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taskloom._rng import initial_weights
from taskloom.balance import equal
from taskloom.balance.base import Balancer
from taskloom.data.multitask import MultiTaskData
from taskloom.data.prepare import Preparation
from taskloom.data.split import Splitter, default_split
from taskloom.data.tensors import TaskTensors
from taskloom.engine.base import GradientEngine
from taskloom.errors import DataError, EngineError, TaskError
from taskloom.fit._loaders import LoaderBatches, TrainingBatches, objective_of
from taskloom.fit.alone import train_with_trainer
from taskloom.fit.checkpoint import claim_folder, save
from taskloom.fit.module import MultiTaskModule
from taskloom.fit.phases import run_phases
from taskloom.fit.result import FitResult
from taskloom.fit.trainer import TrainerOptions
from taskloom.fit.training import Objective, OptimiserSettings, Schedule, Training
from taskloom.nn import Deferred, HardSharing
from taskloom.nn.model import MultiTaskModel
from taskloom.task import Task, check_tasks

__all__ = ["fit"]

Loaders = tuple[Iterable[Any], Iterable[Any]]


def fit(
    model: nn.Module,
    data: MultiTaskData | TaskTensors | Loaders,
    *,
    balancer: Balancer | None = None,
    engine: GradientEngine | None = None,
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
        model: a :class:`~taskloom.nn.MultiTaskModel`; a :class:`~taskloom.nn.Deferred` one, built for the data; or
            any ``nn.Module`` that encodes an input as features (n, d): it is then shared by all tasks, with a linear
            head per task.
        data: a :class:`~taskloom.MultiTaskData` (split and prepared here: ``result.preparation`` keeps how), prepared
            :class:`~taskloom.data.TaskTensors`, or a pair of data loaders (training, validation) that yield
            :class:`~taskloom.data.Batch` objects, ``(inputs, {task: target})``, or ``(inputs, {task: target},
            {task: mask})``.
        balancer: how losses or gradients are combined, for example ``tl.pcgrad()``; default ``tl.equal()``.
        engine: how task gradients are measured, for example ``taskloom.engine.LowPrecisionEngine()``; default
            exactly, as :func:`taskloom.balance` chooses.
        tasks: the tasks, needed with data loaders.
        split: how a :class:`~taskloom.MultiTaskData` is split; default by group, by time, or at random.
        main: the task whose validation loss counts; default all that are not auxiliary.
        optimiser: learning rate and weight decay; default AdamW's own.
        schedule: epochs, patience, batch size; default 100, 10, chosen by the number of rows.
        trainer: accelerator, devices, precision, clipping, accumulation, callbacks; default the CPU.
        seed: base seed of split, head weights, row order and what forward passes draw (dropout, sampled structures); a
            randomised balancer has a seed of its own.
        out: folder for the model, its history and the last checkpoint; a killed call that is repeated goes on from
            that checkpoint.

    Returns:
        the trained network (``.model``), its history and its validation score.

    Raises:
        TaskError: tasks are missing or are not the model's.
        DataError: loaders of another form, or a task without labels.
        EngineError: the training diverged at once, or ``out`` holds the checkpoint of another training.

    Example:
        >>> import numpy as np, taskloom as tl
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
    optimiser, schedule = optimiser or OptimiserSettings(), schedule or Schedule()
    mains = (main,) if main is not None else ()
    preparation = None
    if isinstance(data, (MultiTaskData, TaskTensors)) and tasks is not None and tuple(tasks) != data.tasks:
        raise TaskError("tasks= is for data loaders; the data set says what its tasks are: leave tasks= out")
    if folder is not None and options.checkpoints is None:
        options = replace(options, checkpoints=folder / "last")
    if options.checkpoints is not None:
        # not the length of the schedule: a training may be continued for longer
        content = [getattr(data, name, None) for name in ("tasks", "fingerprint")]
        content += [] if engine is None else [type(engine).__name__]
        same = (model, balancer, optimiser, schedule.batch_size, seed, main, split, tasks, *content)
        claim_folder(options.checkpoints, [repr(one) for one in same])
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
        result = train_with_trainer(training, options=options, engine=engine)
    else:
        result = _fit_loaders(model, data, tasks, balancer, engine, mains, optimiser, schedule, options, seed)
    if result.best_epoch < 0 and result.history.epochs:
        raise EngineError(
            "losses or gradients were not finite before any epoch had a finite validation score; expected finite "
            f"numbers. Lower the learning rate (found {optimiser.learning_rate:g}), and look at the inputs and targets"
        )
    result = result.prepared_by(preparation)
    if folder is not None:
        save(result, folder)
    return result


def _prepared(data: MultiTaskData, split: Splitter | None, seed: int) -> tuple[TaskTensors, Preparation]:
    parts = (split if split is not None else default_split(data)).split(data, seed)
    preparation = Preparation.fit(data, parts.train)
    return TaskTensors.prepared(data, preparation, parts, dtype=torch.float32), preparation


def _network(model: nn.Module, tasks: Sequence[Task], example: Any, seed: int) -> MultiTaskModel:
    """The model itself; or one that is built now, or an encoder under linear heads, whose weights follow the seed."""
    if isinstance(model, MultiTaskModel) and not isinstance(model, Deferred):
        return model
    with initial_weights(seed):
        if isinstance(model, Deferred):
            return copy.copy(model).built(example)
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
    engine: GradientEngine | None,
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
    if not isinstance(loaders, (tuple, list)) or len(loaders) != 2:
        raise DataError(
            f"data: found {type(loaders).__name__}; expected a MultiTaskData, TaskTensors, or a pair of data loaders "
            "(training, validation)"
        )
    checked = check_tasks(tasks)
    train, validation = TrainingBatches(loaders[0], checked), LoaderBatches(loaders[1], checked)
    first = next(iter(train), None)
    if first is None:
        raise DataError("the training loader yields no batch; expected batches of (inputs, {task: target})")
    network = _network(model, checked, first.inputs, seed)
    balancer.bind(checked)
    own, own_balancer, own_engine = copy.deepcopy((network, balancer, engine))  # an engine may know parameters
    module = MultiTaskModule(
        own,
        own_balancer,
        tasks=checked,
        objective=objective_of(train, checked, main),
        optimiser=optimiser,
        engine=own_engine,
    )
    every = schedule.measure_every
    return run_phases(
        module,
        train,
        validation,
        skeleton=network,
        schedule=schedule,
        measures=lambda epoch: every > 0 and len(checked) > 1 and epoch % every == 0,
        options=options,
        seed=seed,
    )
