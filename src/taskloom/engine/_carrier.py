"""The carrier: a scalar whose backward pass hands out gradients that are already there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taskloom.engine.base import Layout

__all__ = ["carry", "carry_nothing"]


class _Carrier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, layout: Layout | None, blocks: Sequence[Tensor], *targets: Tensor) -> Tensor:
        ctx.layout, ctx.blocks, ctx.n_targets = layout, blocks, len(targets)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.layout is None:
            return (None,) * (3 + int(ctx.n_targets))
        # The incoming factor is 1, or what a gradient scaler or an accumulation divides the loss by.
        scaled = [block * factor.to(block.device, block.dtype) for block in ctx.blocks]
        return None, None, None, *ctx.layout.split(scaled)


def carry(value: Tensor, targets: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Scalar with this value whose backward pass gives each target its gradient, times the incoming factor."""
    layout = Layout(targets)
    result: Tensor = _Carrier.apply(  # type: ignore[no-untyped-call]
        value.detach(), layout, layout.flatten(gradients), *targets
    )
    return result


def carry_nothing(value: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Scalar whose backward pass leaves every ``.grad`` as it is: None stays None, so that optimisers skip the step."""
    result: Tensor = _Carrier.apply(value.detach(), None, (), *targets)  # type: ignore[no-untyped-call]
    return result
