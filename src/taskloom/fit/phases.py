"""Models that are trained in phases: one run of the Trainer for each, on the same network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any, Protocol

import lightning.pytorch as pl
import numpy as np
import torch

from taskloom._rng import initial_weights, stream_seed
from taskloom.data.batch import Batch
from taskloom.fit.module import MultiTaskModule
from taskloom.fit.result import FitResult, History
from taskloom.fit.trainer import TrainerOptions, run_trainer
from taskloom.fit.training import Schedule, is_trained_in_phases
from taskloom.nn.model import MultiTaskModel
from taskloom.nn.phase import Phase

__all__ = ["run_phases"]


class TrainingData(Protocol):
    """The batches of one epoch after another, of which a phase may ask for a part."""

    def __iter__(self) -> Iterator[Batch]: ...

    def part(self, split: str) -> Iterable[Batch]:
        """The batches of ``"train"`` (all), ``"weights"`` (80 %) or ``"policy"`` (the other 20 %)."""


def run_phases(
    module: MultiTaskModule,
    batches: TrainingData,
    validation: Iterable[Batch],
    *,
    skeleton: MultiTaskModel,
    schedule: Schedule,
    measures: Callable[[int], bool],
    options: TrainerOptions,
    seed: int,
) -> FitResult:
    """Train a model phase after phase, as its ``phases()`` say; most models have a single plain one.

    A phase that gives its length runs for all of it and hands on its last weights; one that does not is stopped by
    the schedule and hands on its best ones. The result is what the last phase hands on, after its ``on_exit``.
    Epochs count from 0 in every phase; the history joins them. With checkpoints, a repeated call goes on in the phase
    where it was: finished phases only load their last state, and their hooks are called again.

    Args:
        module: the network and the balancer; its weights change.
        batches: training batches, of which a phase may want a part.
        validation: validation batches, as for :func:`~taskloom.fit.trainer.run_trainer`, like all that follow.
        skeleton: a network of the same structure for the result, unless phases change it.
        schedule: length of phases that do not give their own.
        measures: whether conflicts are measured in an epoch.
        options: how the Trainer runs.
        seed: base seed of what forward passes draw, and of the weights that phases draw anew.

    Returns:
        the network as the last phase leaves it. A last phase of so few steps that no epoch ends has no score.
    """
    with torch.random.fork_rng(devices=[]):  # training leaves the caller's random numbers alone
        if is_trained_in_phases(module.model):
            return _run(module, batches, validation, schedule, measures, options, seed)
        module.draws_seed = seed
        return run_trainer(
            module, batches, validation, skeleton=skeleton, schedule=schedule, measures=measures, options=options
        )


def _run(
    module: MultiTaskModule,
    batches: TrainingData,
    validation: Iterable[Batch],
    schedule: Schedule,
    measures: Callable[[int], bool],
    options: TrainerOptions,
    seed: int,
) -> FitResult:
    """The phases of :func:`run_phases`, one after another."""
    module.may_come_apart = True
    results: list[FitResult] = []
    for position, phase in enumerate(module.model.phases()):
        if phase.on_enter is not None:
            phase.on_enter()
        if phase.fresh_weights:
            with initial_weights(seed, f"phase {position}"):
                module.model.reset_weights()
        module.phase, module.draws_seed = phase, stream_seed(seed, "phase", position)
        part = batches.part(phase.split)
        with _learning(module.model, phase):
            result = run_trainer(
                module,
                part,
                validation,
                skeleton=module.model,
                schedule=replace(schedule, max_epochs=phase.epochs, patience=phase.epochs)
                if phase.epochs is not None
                else schedule,
                max_steps=phase.steps,
                measures=measures,
                options=_options(options, phase, position),
            )
        results.append(result)
        if module.diverged:
            return _joined(results)
        if phase.steps is None and phase.epochs is None:
            module.model.load_state_dict(dict(result.state))
        else:
            results[-1] = replace(result, best_epoch=result.history.epochs - 1)
        _finish(module, phase, part)
    return _joined(results, skeleton=module.model)


def _finish(module: MultiTaskModule, phase: Phase, batches: Iterable[Batch]) -> None:
    """What follows the last step of a phase: a look at the data, a hook, another network."""
    if phase.review is not None:
        module.model.eval()
        with torch.no_grad():
            phase.review(batches)
    if phase.on_exit is not None:
        phase.on_exit()
    if phase.derives:
        module.become(module.model.derive())


@contextmanager
def _learning(model: MultiTaskModel, phase: Phase) -> Iterator[None]:
    """Let only the groups of a phase learn; coupling parameters do whenever shared or task parameters do."""
    groups = {
        "shared": list(model.shared_parameters()),
        "task": list(chain.from_iterable(model.task_parameters(task) for task in model.tasks)),
        "structure": list(model.structure_parameters()),
    }
    chosen = {id(parameter) for group in phase.train for parameter in groups[group]}
    if {"shared", "task"} & set(phase.train):
        chosen |= {id(parameter) for parameter in model.coupling_parameters()}
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in chosen]
    for parameter in frozen:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)


class _Steps(pl.Callback):
    """Calls ``on_step(i, n)`` after every step of the optimiser."""

    def __init__(self, on_step: Callable[[int, int], None]) -> None:
        self._on_step = on_step
        self._done = self._steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._done, self._steps = trainer.global_step, int(trainer.estimated_stepping_batches)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._done:
            self._done = trainer.global_step
            self._on_step(self._done - 1, self._steps)


def _options(options: TrainerOptions, phase: Phase, position: int) -> TrainerOptions:
    hooks = () if phase.on_step is None else (_Steps(phase.on_step),)
    folder = options.checkpoints and options.checkpoints / f"phase-{position}"
    return replace(options, callbacks=(*options.callbacks, *hooks), checkpoints=folder)


def _joined(results: list[FitResult], *, skeleton: MultiTaskModel | None = None) -> FitResult:
    """The last phase's result with the history, steps and time of all, and the network as it is now."""
    histories = [result.history for result in results]
    starts = np.cumsum([0, *(history.epochs for history in histories)])
    columns = {
        name: np.concatenate([getattr(history, name) for history in histories])
        for name in ("train_loss", "validation_loss", "weights", "score", "gramians")
    }
    measured = tuple(int(start) + epoch for start, one in zip(starts, histories) for epoch in one.measured)
    last = results[-1] if skeleton is None else replace(results[-1], skeleton=skeleton)
    return replace(
        last,
        state={name: value.detach().cpu().clone() for name, value in last.skeleton.state_dict().items()},
        history=History(last.history.tasks, measured=measured, **columns),
        best_epoch=int(starts[-2]) + last.best_epoch if last.best_epoch >= 0 else -1,
        steps=sum(result.steps for result in results),
        seconds=sum(result.seconds for result in results),
    )
