"""Keep the weights of the epoch with the best validation score in memory, and stop when it stays the best."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

__all__ = ["BestWeights"]


class BestWeights(pl.Callback):
    """Remembers the state of the network at its best validation score, and stops training when it gets no better.

    One callback for both: Lightning asks every callback at a dozen places of every step.

    Args:
        patience: epochs without a better score after which training stops. A score that is not finite stops it at once.

    Attributes:
        best_epoch: the epoch of that score, from 0; -1 before the first finite one.
        best_score: the score; infinity before the first finite one.
        best_state: copies of the network's parameters and buffers.

    Example:
        >>> BestWeights(patience=3).best_epoch
        -1
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best_epoch = -1
        self.best_score = math.inf
        self.best_state: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the score that the module has just logged with the best so far."""
        score = float(trainer.callback_metrics["validation/score"])
        if score < self.best_score:
            self.best_score, self.best_epoch = score, trainer.current_epoch
            state = pl_module.get_submodule("model").state_dict()
            self.best_state = {name: value.detach().cpu().clone() for name, value in state.items()}
        # -1 before the first finite score: then the first score that is not finite has stopped the training
        if not math.isfinite(score) or trainer.current_epoch - self.best_epoch >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on."""
        return {"best_epoch": self.best_epoch, "best_score": self.best_score, "best_state": self.best_state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.best_epoch = state_dict["best_epoch"]
        self.best_score = state_dict["best_score"]
        self.best_state = state_dict["best_state"]
