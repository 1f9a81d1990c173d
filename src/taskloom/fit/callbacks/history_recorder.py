"""Record losses, weights, scores and conflicts of every epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from taskloom.fit.module import MultiTaskModule
from taskloom.fit.result import History

__all__ = ["HistoryRecorder"]

_STEPS_KEPT = 256


class HistoryRecorder(pl.Callback):
    """Builds the :class:`~taskloom.fit.History` of a run under Lightning's Trainer.

    Args:
        tasks: names of the K tasks.
        measures: says for an epoch whether gradient conflicts are measured at its first step.

    Example:
        >>> HistoryRecorder(("a",), lambda epoch: False).history().epochs
        0
    """

    def __init__(self, tasks: tuple[str, ...], measures: Callable[[int], bool]) -> None:
        self._tasks = tasks
        self._measures = measures
        self._epochs: list[dict[str, Any]] = []
        self._measured: list[tuple[int, np.ndarray]] = []
        self._reset()

    def _reset(self) -> None:
        self._loss, self._weight, self._count = torch.zeros(3, len(self._tasks), dtype=torch.float64)
        self._steps: list[tuple[Tensor, Tensor, Tensor]] = []  # losses, weights, active, (K,) each

    def _add_steps(self) -> None:
        """Add the steps that were kept to the sums of the epoch: many at a time costs less than each on its own."""
        if self._steps:
            losses, weights, active = (torch.stack(column).cpu() for column in zip(*self._steps, strict=True))
            self._loss += torch.where(active, losses, 0.0).sum(0, dtype=torch.float64)
            self._weight += torch.where(active, weights, 0.0).sum(0, dtype=torch.float64)
            self._count += active.sum(0)
            self._steps.clear()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the sums of an epoch."""
        self._reset()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Ask for a measurement at the first step of a measured epoch."""
        if batch_idx < 2:  # the step that is asked, and the one after it
            assert isinstance(pl_module, MultiTaskModule)
            pl_module.measures_next_step = batch_idx == 0 and self._measures(trainer.current_epoch)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the losses and weights of a step."""
        assert isinstance(pl_module, MultiTaskModule)
        if pl_module.diverged or pl_module.last_step is None:
            return
        self._steps.append(pl_module.last_step)
        if len(self._steps) == _STEPS_KEPT:
            self._add_steps()
        if pl_module.measures_next_step and pl_module.last_gramian is not None:
            self._measured.append((trainer.current_epoch, pl_module.last_gramian.double().cpu().numpy()))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close an epoch with its validation losses."""
        assert isinstance(pl_module, MultiTaskModule)
        self._add_steps()
        if pl_module.diverged:
            self._loss.fill_(torch.nan)
            self._weight.fill_(torch.nan)
        self._epochs.append(
            {
                "train_loss": (self._loss / self._count).numpy(),
                "weights": (self._weight / self._count).numpy(),
                "validation_loss": pl_module.last_validation_losses.double().cpu().numpy(),
                "score": float(trainer.callback_metrics["validation/score"]),
            }
        )

    def history(self) -> History:
        """The history so far."""
        n_tasks = len(self._tasks)

        def column(name: str) -> np.ndarray:
            rows = [epoch[name] for epoch in self._epochs]
            return np.stack(rows) if rows else np.zeros((0, n_tasks))

        return History(
            tasks=self._tasks,
            train_loss=column("train_loss"),
            validation_loss=column("validation_loss"),
            weights=column("weights"),
            score=np.asarray([epoch["score"] for epoch in self._epochs]),
            measured=tuple(epoch for epoch, _ in self._measured),
            gramians=np.stack([gramian for _, gramian in self._measured])
            if self._measured
            else np.zeros((0, n_tasks, n_tasks)),
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on (tensors and plain numbers only)."""
        return {
            "epochs": [{name: torch.as_tensor(value) for name, value in epoch.items()} for epoch in self._epochs],
            "measured": [(epoch, torch.as_tensor(gramian)) for epoch, gramian in self._measured],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._epochs = [
            {name: value.numpy() if value.ndim else float(value) for name, value in epoch.items()}
            for epoch in state_dict["epochs"]
        ]
        self._measured = [(epoch, gramian.numpy()) for epoch, gramian in state_dict["measured"]]
