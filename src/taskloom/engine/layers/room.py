"""Room for the task gradients of several parameters, side by side.

Layers whose weight gradients are kept, and parameters without a rule, share one matrix (K, P): one product then gives
the inner products of all of them, and another one their direction.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import gramian_of

__all__ = ["Room"]

_TOGETHER = 1 << 22
"""Numbers of the direction that are made in one piece: 16 MiB in float32, which the allocator still keeps."""
_ALIGNED = 16
"""Rows begin at multiples of this many numbers."""


class Room:
    """Matrices (K, P), one or several per device and dtype, of which every parameter has some columns.

    Args:
        parameters: the parameters, in the order of their columns.
        n_tasks: number of rows K.
        lease: where to take memory from.

    Example:
        >>> from taskloom.engine.layers.pool import Pool
        >>> first, second = torch.zeros(2), torch.zeros(1, 3)
        >>> room = Room([first, second], 2, Pool().lease())
        >>> room.of(first).fill_(1.0).shape, room.of(second).fill_(2.0).shape
        (torch.Size([2, 2]), torch.Size([2, 1, 3]))
        >>> room.gramian()
        tensor([[14., 14.],
                [14., 14.]], dtype=torch.float64)
        >>> room.combine(torch.tensor([1.0, -0.5]))
        [tensor([0.5000, 0.5000]), tensor([[1., 1., 1.]])]
    """

    def __init__(self, parameters: Sequence[Tensor], n_tasks: int, lease: Lease) -> None:
        self.parameters, self.n_tasks = tuple(parameters), n_tasks
        members: list[list[int]] = []
        open_at: dict[tuple[torch.device, torch.dtype], int] = {}
        widths: list[int] = []
        for number, one in enumerate(self.parameters):
            key, size = (one.device, one.dtype), one.numel()
            at = open_at.get(key)
            if at is None or widths[at] + size > _TOGETHER:
                at = open_at[key] = len(members)
                members.append([])
                widths.append(0)
            members[at].append(number)
            widths[at] += size
        self.members = tuple(map(tuple, members))
        """Numbers of the parameters of every block."""
        self.blocks: list[Tensor] = []
        """The matrices."""
        self._columns: dict[int, tuple[int, int]] = {}  # id of a parameter -> block, first column
        for at, (numbers, width) in enumerate(zip(members, widths, strict=True)):
            first = self.parameters[numbers[0]]
            whole = lease.take((n_tasks, -(-width // _ALIGNED) * _ALIGNED), first.dtype, first.device)
            self.blocks.append(whole[:, :width])
            start = 0
            for number in numbers:
                self._columns[id(self.parameters[number])] = at, start
                start += self.parameters[number].numel()

    def of(self, parameter: Tensor) -> Tensor:
        """The rows of one parameter, (K, *shape)."""
        at, start = self._columns[id(parameter)]
        columns = self.blocks[at][:, start : start + parameter.numel()]
        return columns.view(self.n_tasks, *(parameter.shape or (1,)))

    def columns(self, parameters: Sequence[Tensor]) -> list[tuple[Tensor, list[Tensor]]]:
        """The rows of several parameters in as few pieces as they stand in, and which stand in each."""
        found: list[tuple[int, int, int, list[Tensor]]] = []
        for one in parameters:
            at, start = self._columns[id(one)]
            end = start + one.numel()
            if found and found[-1][0] == at and found[-1][2] == start:
                found[-1] = (at, found[-1][1], end, [*found[-1][3], one])
            else:
                found.append((at, start, end, [one]))
        return [(self.blocks[at][:, start:end], own) for at, start, end, own in found]

    def gramian(self, dtype: torch.dtype | None = None) -> Tensor | None:
        """Inner products of the rows, (K, K); None without parameters."""
        return gramian_of(self.blocks, dtype)

    def combine(self, weights: Tensor) -> list[Tensor]:
        """J^T w, one tensor per parameter, in its dtype."""
        found: list[Tensor] = [weights] * len(self.parameters)
        for numbers, block in zip(self.members, self.blocks, strict=True):
            accurate = torch.promote_types(block.dtype, torch.float32)
            whole = torch.mv(block.to(accurate).T, weights.detach().to(block.device, accurate)).to(block.dtype)
            sizes = [self.parameters[number].numel() for number in numbers]
            for number, piece in zip(numbers, whole.split(sizes), strict=True):
                found[number] = piece.view(self.parameters[number].shape)
        return found
