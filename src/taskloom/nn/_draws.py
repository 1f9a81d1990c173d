"""Several computations that see the same random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

__all__ = ["same_draws"]


def same_draws(module: nn.Module) -> Iterator[AbstractContextManager[None]]:
    """Contexts without end; inside each, torch's generators begin where they stood at the first.

    The first leaves the generators where its own draws end, the others leave them as they were.

    Args:
        module: says on which devices numbers are drawn.
    """
    devices = sorted({p.device.index for p in module.parameters() if p.device.type == "cuda"})
    start = _states(devices)
    yield nullcontext()
    while True:
        yield _beginning_at(start, devices)


def _states(devices: list[int]) -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]


@contextmanager
def _beginning_at(states: list[Tensor], devices: list[int]) -> Iterator[None]:
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(states[0])
        for device, state in zip(devices, states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)
        yield
