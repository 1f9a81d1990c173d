"""Keep the weights of the epoch with the best validation score in memory, and stop when it stays the best."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

__all__ = ["BestWeights"]

_STATE = ("best_epoch", "best_score", "best_state", "_last_epoch", "_last_score")


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
        self._last_epoch = -1
        self._last_score = 0.0

    @property
    def _ends(self) -> bool:
        return not math.isfinite(self._last_score) or self._last_epoch - self.best_epoch >= self.patience

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that has ended stays so when its checkpoint is continued."""
        if self._last_epoch >= 0 and self._ends:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the score that the module has just logged with the best so far."""
        self._last_epoch, self._last_score = trainer.current_epoch, float(trainer.callback_metrics["validation/score"])
        if self._last_score < self.best_score:
            self.best_score, self.best_epoch = self._last_score, self._last_epoch
            state = pl_module.get_submodule("model").state_dict()
            self.best_state = {name: value.detach().cpu().clone() for name, value in state.items()}
        if self._ends:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold to go on."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name in _STATE:
            setattr(self, name, state_dict[name])
