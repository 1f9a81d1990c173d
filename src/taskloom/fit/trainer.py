"""Training one network by Lightning's Trainer under automatic optimisation."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from taskloom.data.batch import Batch
from taskloom.data.order import RowOrder
from taskloom.data.tensors import TaskTensors
from taskloom.fit.callbacks.best_weights import BestWeights
from taskloom.fit.callbacks.history_recorder import HistoryRecorder
from taskloom.fit.module import MultiTaskModule
from taskloom.fit.result import FitResult
from taskloom.fit.training import Training

__all__ = ["quiet_lightning", "train_with_trainer"]


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


class _TrainingBatches:
    """The batches of one epoch after another, cut from tensors."""

    def __init__(self, tensors: TaskTensors, order: RowOrder) -> None:
        self._tensors = tensors
        self._order = order
        self.epoch = 0

    def __len__(self) -> int:
        return self._order.steps

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        rows, real = self._order.epoch(self.epoch)
        for step in range(len(rows)):
            yield self._tensors.batch(rows[step], real[step])


class _ValidationBatch:
    """The whole validation part as one batch."""

    def __init__(self, tensors: TaskTensors) -> None:
        self._batch = tensors.batch(*tensors.part("validation"))

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield self._batch


class _EpochSetter(pl.Callback):
    """Tells the batches which epoch comes, also after a resumed checkpoint."""

    def __init__(self, batches: _TrainingBatches) -> None:
        self._batches = batches

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches.set_epoch(trainer.current_epoch)


def train_with_trainer(
    training: Training,
    *,
    checkpoints: Path | None = None,
    callbacks: tuple[pl.Callback, ...] = (),
    progress: bool = False,
    **options: Any,
) -> FitResult:
    """Train one network; equal to a member of a batched run with the same settings.

    Args:
        training: what to train.
        checkpoints: folder for Lightning's checkpoint of the last epoch; a training that finds one there goes on
            from it. None keeps nothing on disk.
        callbacks: further Lightning callbacks.
        progress: show Lightning's progress bar.
        options: further arguments of ``lightning.pytorch.Trainer`` (precision, accelerator, devices ...).

    Returns:
        the network at its best epoch, with the history.
    """
    model, balancer = copy.deepcopy(training.model), copy.deepcopy(training.balancer)
    module = MultiTaskModule(
        model,
        balancer,
        tasks=training.tensors.tasks,
        objective=training.objective,
        optimiser=training.optimiser,
    )
    batches = _TrainingBatches(training.tensors, training.order)
    best = BestWeights()
    recorder = HistoryRecorder(training.model.tasks, training.measures)
    kept: list[pl.Callback] = [_EpochSetter(batches), best, recorder]
    kept.append(EarlyStopping("validation/score", patience=training.schedule.patience, min_delta=0.0, verbose=False))
    resume = None
    if checkpoints is not None:
        kept.append(ModelCheckpoint(checkpoints, save_last=True, save_top_k=0))
        last = checkpoints / "last.ckpt"
        resume = str(last) if last.exists() else None
    start = time.perf_counter()
    with quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=training.schedule.max_epochs,
            logger=False,
            enable_checkpointing=checkpoints is not None,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[*kept, *callbacks],
            **{"accelerator": "cpu", **options},
        )
        trainer.fit(module, batches, _ValidationBatch(training.tensors), ckpt_path=resume, weights_only=True)
    return FitResult(
        skeleton=training.model,
        state=best.best_state or {name: value.detach().clone() for name, value in model.state_dict().items()},
        history=recorder.history(),
        best_epoch=best.best_epoch,
        steps=int(trainer.global_step),
        seconds=time.perf_counter() - start,
        balancer_state={name: value.detach().clone() for name, value in balancer.state_dict().items()},
    )
