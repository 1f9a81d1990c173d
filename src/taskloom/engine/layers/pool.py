"""Memory that is used again in the next step.

On a CPU, tensors of many megabytes go back to the system as soon as they are free, and getting them anew costs more
than filling them. An engine therefore keeps the blocks of task gradients from one step for the next. On accelerators
the allocator does this already.

What autograd makes on the way is not the engine's to keep. But glibc decides by the largest block that was ever freed
what it gives back at once (blocks larger than that) and how much it keeps (twice that), up to 32 MiB; mallopt(3) calls
it the dynamic threshold. One large block that is freed before the first step, and never touched, saves a process the
time in which it would find that out pass by pass. Other allocators do not mind.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

__all__ = ["Lease", "Pool"]

Key = tuple[int, torch.dtype]

_LARGEST_KEPT = (32 << 20) - (1 << 16)
"""Bytes: just below what glibc never keeps, headers and alignment included."""


class Pool:
    """Free blocks. What two steps did not ask for is let go.

    Example:
        >>> pool = Pool()
        >>> lease = pool.lease()
        >>> address = lease.take((2, 3), torch.float32, torch.device("cpu")).data_ptr()
        >>> del lease
        >>> pool.lease().take((3, 2), torch.float32, torch.device("cpu")).data_ptr() == address
        True
    """

    _has_settled: ClassVar[bool] = False

    def __init__(self) -> None:
        if not Pool._has_settled:
            torch.empty(_LARGEST_KEPT, dtype=torch.uint8)
            Pool._has_settled = True
        self._free: list[tuple[int, Tensor]] = []  # (number of the lease that used it last, block)
        self._n_leases = 0

    def lease(self) -> Lease:
        """Blocks of one step; they come back when the lease is gone."""
        self._n_leases += 1
        return Lease(self, self._n_leases)

    def find(self, key: Key) -> Tensor | None:
        """A free block of this size and dtype."""
        for place, (_, block) in enumerate(self._free):
            if (block.numel(), block.dtype) == key:
                return self._free.pop(place)[1]
        return None

    def give_back(self, number: int, blocks: list[Tensor]) -> None:
        """Take back the blocks of a lease."""
        self._free = [(last, block) for last, block in self._free if last > self._n_leases - 2]
        self._free.extend((number, block) for block in blocks)


class Lease:
    """Blocks that belong to one step."""

    def __init__(self, pool: Pool, number: int) -> None:
        self._pool, self._number = pool, number
        self._blocks: list[Tensor] = []
        self._scratch: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """An uninitialised tensor; it must not be used once the lease is gone."""
        if device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        size = math.prod(shape)
        block = self._pool.find((size, dtype))
        if block is None:
            block = torch.empty(size, dtype=dtype)
        self._blocks.append(block)
        return block.view(shape)

    def scratch(self, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        """An uninitialised tensor that is overwritten by the next one of this name."""
        size = math.prod(shape)
        block = self._scratch.get((name, dtype, device))
        if block is None or block.numel() < size:
            block = self._scratch[name, dtype, device] = self.take((size,), dtype, device)
        return block[:size].view(shape)

    def __del__(self) -> None:
        self._pool.give_back(self._number, self._blocks)
