"""The parameter path: ordinary gradients, which come out of the same passes as the gradients of layer outputs.

It needs no knowledge of the layer and is what makes the engine exact for every model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.base import Layout
from taskloom.engine.layers.part import combined
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import gramian_of

__all__ = ["RemainingRows"]


class RemainingRows:
    """Task gradients of parameters without a rule, in blocks (K, P_b).

    Args:
        parameters: those that some loss reaches.
        n_tasks: number of rows K.
        lease: where to take memory from.
    """

    def __init__(self, parameters: Sequence[Tensor], n_tasks: int, lease: Lease) -> None:
        self.layout, self.n_tasks = Layout(parameters), n_tasks
        self.blocks: list[Tensor] = []
        for group in self.layout.groups:
            first = parameters[group[0]]
            width = sum(parameters[place].numel() for place in group)
            self.blocks.append(lease.take((n_tasks, width), first.dtype, first.device))
        self.is_missing = set(range(n_tasks))

    def take(self, first: int, gradients: Sequence[Tensor | None]) -> None:
        """Gradients of one task (a tensor or None per parameter)."""
        self.is_missing.discard(first)
        self.layout.flatten(gradients, into=[block[first] for block in self.blocks])

    def take_several(self, first: int, gradients: Sequence[Tensor | None]) -> None:
        """Gradients (c, *parameter) of neighbouring tasks."""
        n_tasks = next((one.shape[0] for one in gradients if one is not None), 0)
        self.is_missing.difference_update(range(first, first + n_tasks))
        for group, block in zip(self.layout.groups, self.blocks, strict=True):
            start = 0
            for place in group:
                gradient, size = gradients[place], self.layout.parameters[place].numel()
                out = block[first : first + n_tasks, start : start + size]
                out.zero_() if gradient is None else out.copy_(gradient.reshape(n_tasks, size))
                start += size

    def finish(self) -> None:
        """Everything was handed over."""
        for task in self.is_missing:
            for block in self.blocks:
                block[task].zero_()

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor | None:
        """Inner products (K, K); None without parameters."""
        return gramian_of(self.blocks, dtype)

    def combine(self, weights: Tensor) -> list[Tensor]:
        """J^T w, one tensor per parameter."""
        return self.layout.split([combined(block, weights) for block in self.blocks])

    def rows(self) -> list[Tensor]:
        """J, (K, p) per parameter."""
        found: list[Tensor] = [torch.empty(0)] * len(self.layout.parameters)
        for group, block in zip(self.layout.groups, self.blocks, strict=True):
            sizes = [self.layout.parameters[place].numel() for place in group]
            for place, piece in zip(group, block.split(sizes, dim=1), strict=True):
                found[place] = piece
        return found
