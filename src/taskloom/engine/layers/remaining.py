"""The parameter path: ordinary gradients, which come out of the same passes as the gradients of layer outputs.

It needs no knowledge of the layer and is what makes the engine exact for every model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import gramian_of
from taskloom.engine.layers.room import Room

__all__ = ["RemainingRows"]


class RemainingRows:
    """Task gradients of parameters without a rule.

    Args:
        parameters: those that some loss reaches.
        n_tasks: number of rows K.
        lease: where to take memory from.
        room: where they stand beside others; default: by themselves.
    """

    def __init__(self, parameters: Sequence[Tensor], n_tasks: int, lease: Lease, room: Room | None = None) -> None:
        self.parameters, self.n_tasks = tuple(parameters), n_tasks
        self.room = room or Room(self.parameters, n_tasks, lease)
        self._pieces = self.room.columns(self.parameters)
        self._is_missing = set(range(n_tasks))

    def take(self, first: int, gradients: Sequence[Tensor | None]) -> None:
        """Gradients of one task (a tensor or None per parameter)."""
        self._is_missing.discard(first)
        place = 0
        for columns, parameters in self._pieces:
            flat = [_flat(gradients[place + number], one) for number, one in enumerate(parameters)]
            place += len(parameters)
            torch.cat(flat, out=columns[first])

    def take_several(self, first: int, gradients: Sequence[Tensor | None]) -> None:
        """Gradients (c, *parameter) of neighbouring tasks."""
        n_tasks = next((one.shape[0] for one in gradients if one is not None), 0)
        self._is_missing.difference_update(range(first, first + n_tasks))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            out = self.room.of(parameter)[first : first + n_tasks]
            out.zero_() if gradient is None else out.copy_(gradient.reshape(out.shape))

    def finish(self) -> None:
        """Everything was handed over."""
        for task in self._is_missing:
            for columns, _ in self._pieces:
                columns[task].zero_()

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor | None:
        """Inner products (K, K); None without parameters."""
        return gramian_of([columns for columns, _ in self._pieces], dtype)

    def combine(self, weights: Tensor) -> list[Tensor]:
        """J^T w, one tensor per parameter; of a room of their own."""
        return self.room.combine(weights)

    def rows(self) -> list[Tensor]:
        """J, (K, p) per parameter."""
        return [self.room.of(one).flatten(1) for one in self.parameters]


def _flat(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    if gradient is None:
        return parameter.new_zeros(parameter.numel())
    return (gradient.to_dense() if gradient.is_sparse else gradient).detach().reshape(-1)
