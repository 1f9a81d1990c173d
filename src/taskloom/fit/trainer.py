"""Training one network by Lightning's Trainer under automatic optimisation."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import Profiler

from taskloom.data.batch import Batch
from taskloom.data.order import RowOrder
from taskloom.data.tensors import TaskTensors
from taskloom.fit.callbacks.best_weights import BestWeights
from taskloom.fit.callbacks.history_recorder import HistoryRecorder
from taskloom.fit.module import MultiTaskModule
from taskloom.fit.result import FitResult
from taskloom.fit.training import Schedule
from taskloom.nn.model import MultiTaskModel

__all__ = ["TensorBatches", "TrainerOptions", "ValidationBatch", "quiet_lightning", "run_trainer"]


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """How Lightning's Trainer runs; every field is the Trainer's argument of that name.

    Args:
        accelerator: ``"cpu"`` (default), ``"auto"``, ``"gpu"``, ...
        devices: number of devices; default ``"auto"``.
        strategy: for example ``"ddp"``; default ``"auto"``.
        precision: for example ``"bf16-mixed"``; default ``"32-true"``; double networks stay double.
        gradient_clip_val: largest norm of the gradient; None does not clip.
        accumulate_grad_batches: steps whose gradients are added before the optimiser steps; default 1.
        progress: show Lightning's progress bar; default False.
        logger: one of Lightning's loggers, several, or True for its default one; it gets ``train/<task>/loss``,
            ``train/<task>/weight`` and ``validation/<task>/loss``. Default False: the history is kept in the result.
        callbacks: further callbacks.
        checkpoints: folder for the checkpoint of the last epoch; a training that finds one there goes on from it.

    Example:
        >>> TrainerOptions(progress=True).accelerator
        'cpu'
    """

    accelerator: str = "cpu"
    devices: int | str = "auto"
    strategy: str = "auto"
    precision: Any = None
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int = 1
    progress: bool = False
    logger: Logger | Iterable[Logger] | bool = False
    callbacks: tuple[pl.Callback, ...] = ()
    checkpoints: Path | None = None


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's banners, tips and set-up warnings from the user; errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class TensorBatches:
    """The batches of one epoch after another, cut from tensors."""

    def __init__(self, tensors: TaskTensors, order: RowOrder) -> None:
        self._tensors = tensors
        self._order = order
        self.epoch = 0
        self.sampler = self  # where Lightning looks for set_epoch

    def part(self, split: str) -> TensorBatches:
        """The batches of a part of the training rows: all, or those for learning weights or a policy."""
        if split == "train":
            return self
        rows = self._tensors.train_part(split, seed=self._order.seed)
        tensors = replace(self._tensors, train=rows)
        return TensorBatches(tensors, tensors.order(batch_size=self._order.batch_size, seed=self._order.seed))

    def __len__(self) -> int:
        return self._order.steps

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        # a generator: Lightning may ask for the iterator first and name the epoch afterwards
        yield from self._tensors.batches(*self._order.epoch(self.epoch))


class ValidationBatch:
    """The whole validation part as one batch."""

    def __init__(self, tensors: TaskTensors) -> None:
        self._batch = tensors.batch(*tensors.part("validation"))

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield self._batch


class _NoProfiler(Profiler):
    """Measures nothing: Lightning's own way of measuring nothing enters a generator some eighty times a step."""

    _nothing: AbstractContextManager[Any] = nullcontext()

    def start(self, action_name: str) -> None:
        """Nothing."""

    def stop(self, action_name: str) -> None:
        """Nothing."""

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self._nothing


def run_trainer(
    module: MultiTaskModule,
    batches: Iterable[Batch],
    validation: Iterable[Batch],
    *,
    skeleton: MultiTaskModel,
    schedule: Schedule,
    measures: Callable[[int], bool],
    options: TrainerOptions,
    max_steps: int | None = None,
) -> FitResult:
    """Run Lightning's Trainer on a module with early stopping, best weights and history.

    Args:
        module: the network and the balancer; its weights change.
        batches: training batches; if it has a ``sampler``, its ``set_epoch`` is called at the start of every epoch.
        validation: validation batches.
        skeleton: a network of the same structure for the result.
        schedule: length of training.
        measures: whether conflicts are measured in an epoch.
        options: how the Trainer runs.
        max_steps: number of optimiser steps, instead of the schedule's epochs.

    Returns:
        the network at its best epoch (as it is at the end, if no epoch was finished), with the history.
    """
    best = BestWeights(schedule.patience)
    recorder = HistoryRecorder(skeleton.tasks, measures)
    callbacks: list[pl.Callback] = [best, recorder]
    resume = None
    if options.checkpoints is not None:
        callbacks.append(ModelCheckpoint(options.checkpoints, save_last=True, save_top_k=0))
        last = options.checkpoints / "last.ckpt"
        resume = str(last) if last.exists() else None
    start = time.perf_counter()
    with quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=schedule.max_epochs if max_steps is None else -1,
            max_steps=-1 if max_steps is None else max_steps,
            logger=options.logger,
            enable_checkpointing=options.checkpoints is not None,
            enable_progress_bar=options.progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[*callbacks, *options.callbacks],
            accelerator=options.accelerator,
            devices=options.devices,
            strategy=options.strategy,
            precision=options.precision,
            profiler=_NoProfiler(),
            gradient_clip_val=options.gradient_clip_val,
            accumulate_grad_batches=options.accumulate_grad_batches,
        )
        trainer.fit(module, batches, validation, ckpt_path=resume, weights_only=True)
    final = {name: value.detach().cpu().clone() for name, value in module.model.state_dict().items()}
    return FitResult(
        skeleton=skeleton,
        state=best.best_state or final,
        history=recorder.history(),
        best_epoch=best.best_epoch,
        steps=int(trainer.global_step),
        seconds=time.perf_counter() - start,
        balancer_state={name: value.detach().clone() for name, value in module.balancer.state_dict().items()},
    )
