"""A second look at a batch: its losses after the optimiser's step, for balancers that compare both."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from taskloom.engine.base import ranks
from taskloom.losses import by_position, task_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskloom.data.batch import Batch
    from taskloom.nn.model import MultiTaskModel
    from taskloom.task import Task

__all__ = ["SecondLook"]


class SecondLook:
    """Evaluates the losses of a batch twice under the same conditions: dropout masks, mode, precision.

    Args:
        model: the network.
        tasks: the K tasks.
    """

    def __init__(self, model: MultiTaskModel, tasks: Sequence[Task]) -> None:
        self._model = model
        self._tasks = tasks
        self._batch: Batch | None = None
        self._random: list[Tensor] = []
        self._devices: list[torch.device] = []

    def remember(self, batch: Batch, device: torch.device) -> None:
        """Note a batch and the state of the random numbers, just before its first forward pass."""
        self._batch = batch
        self._devices = [device] if device.type == "cuda" else []
        self._random = [torch.get_rng_state(), *(torch.cuda.get_rng_state(one) for one in self._devices)]

    @torch.no_grad()
    def losses(self, precision: AbstractContextManager[object]) -> Tensor:
        """Losses (K,) of the batch as the network is now, averaged over ranks; 0 for absent tasks.

        There is no graph, and nothing of the network changes: running statistics are updated in copies, and the random
        numbers go on from where they are.
        """
        assert self._batch is not None
        batch, self._batch = self._batch, None
        copies = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        with torch.random.fork_rng(self._devices), precision:
            torch.set_rng_state(self._random[0])
            for device, state in zip(self._devices, self._random[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            given = functional_call(self._model, copies, (batch.inputs,))
            outputs, targets, mask = by_position(given, batch.targets, mask=batch.mask)
            losses, _ = task_losses(self._tasks, outputs, targets=targets, mask=mask)
        if ranks() > 1:
            losses = losses.float()
            torch.distributed.all_reduce(losses)
            losses = losses / ranks()
        return losses
