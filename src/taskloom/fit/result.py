"""What a training leaves behind: the best network and the history of its losses, weights and conflicts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from torch import Tensor

from taskloom.data.prepare import Preparation
from taskloom.nn.model import MultiTaskModel

__all__ = ["FitResult", "History"]


@dataclass(frozen=True, eq=False)
class History:
    """Losses, weights and conflicts over training.

    Attributes:
        tasks: the K tasks.
        train_loss: (epochs, K) mean training loss per epoch; NaN where a task was absent all epoch.
        validation_loss: (epochs, K) validation loss after each epoch.
        weights: (epochs, K) mean weight of each task's gradient.
        score: (epochs,) validation score; lower is better.
        measured: epochs at whose first step conflicts were measured.
        gramians: (len(measured), K, K) inner products of the task gradients on the shared parameters.

    Example:
        >>> zeros = np.zeros((2, 1))
        >>> History(("a",), zeros, zeros, zeros, np.array([2.0, 1.0])).epochs
        2
    """

    tasks: tuple[str, ...]
    train_loss: np.ndarray
    validation_loss: np.ndarray
    weights: np.ndarray
    score: np.ndarray
    measured: tuple[int, ...] = ()
    gramians: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))

    @property
    def epochs(self) -> int:
        """Number of epochs that were trained."""
        return len(self.score)

    def cosines(self) -> np.ndarray:
        """Cosines between task gradients at the measured steps, (measured, K, K); NaN for a zero gradient."""
        if not len(self.gramians):
            return self.gramians
        norms = np.sqrt(np.einsum("mkk->mk", self.gramians))
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines: np.ndarray = np.clip(self.gramians / (norms[:, :, None] * norms[:, None, :]), -1.0, 1.0)
            return cosines


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained network at its best epoch, with its history.

    Attributes:
        skeleton: a network of the right structure (its own weights do not matter).
        state: the best parameters and buffers by name.
        history: losses and weights over training.
        best_epoch: epoch of the best validation score, from 0; -1 if no epoch had a finite score.
        steps: optimiser steps that were made.
        seconds: wall time of the training; for batched runs the run's time divided by its members.
        balancer_state: state of the balancer at the end.
        preparation: how inputs and targets were prepared, if that was done here.

    Example:
        >>> import taskloom as tl
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> tasks = [tl.Task(name="a", kind=tl.Regression())]
        >>> data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0] + x[:, 1]}, tasks=tasks)
        >>> result = tl.fit(tl.nn.MLP(2, hidden=(4,)), data, schedule=tl.Schedule(max_epochs=2))
        >>> result.history.epochs, result.n_parameters
        (2, 17)
    """

    skeleton: MultiTaskModel
    state: Mapping[str, Tensor]
    history: History
    best_epoch: int
    steps: int
    seconds: float
    balancer_state: Mapping[str, Tensor] = field(default_factory=dict)
    preparation: Preparation | None = None

    def prepared_by(self, preparation: Preparation | None) -> FitResult:
        """The same result that remembers how its data were prepared."""
        return replace(self, preparation=preparation)

    @property
    def validation_score(self) -> float:
        """Validation score of the best epoch; infinity if training never gave a finite one."""
        return float(self.history.score[self.best_epoch]) if self.best_epoch >= 0 else float("inf")

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.skeleton.parameters() if parameter.requires_grad)

    @cached_property
    def model(self) -> MultiTaskModel:
        """The trained network in evaluation mode."""
        model = copy.deepcopy(self.skeleton)
        model.load_state_dict(dict(self.state))
        return model.eval()
