"""Small computations that keep full precision whatever the precision around them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["full_precision", "widened"]


def widened(values: Tensor) -> Tensor:
    """At least float32: sums and softmaxes of half-precision numbers lose the small ones."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """A context without autocast on the device of a tensor."""
    device = values.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
