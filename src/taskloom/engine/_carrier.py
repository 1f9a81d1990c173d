"""The carrier: a scalar whose backward pass hands out gradients that are already there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from taskloom.engine._compiling import uncompiled
from taskloom.errors import EngineError

__all__ = ["carry", "carry_nothing"]


class _Carrier(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None] | None, *targets: Tensor) -> Tensor:
        ctx.gradients, ctx.n_targets, ctx.is_spent = gradients, len(targets), False
        return value.clone()

    @staticmethod
    @uncompiled
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.is_spent:
            raise EngineError(
                "backward() a second time through the scalar of balance(), whose gradients were handed out by the "
                "first; write backward(retain_graph=True) the first time, or call balance() again"
            )
        gradients = ctx.gradients
        if gradients is None:
            return (None,) * (2 + int(ctx.n_targets))
        if torch.is_grad_enabled():
            raise EngineError(
                "backward(create_graph=True) through the scalar of balance(): the gradients it hands out are numbers "
                "without a graph, so that no second derivatives follow; leave create_graph out, or ask for "
                "form='weights' and head_gradient='weighted', where the weights count as constants"
            )
        if not _graph_is_kept():  # nobody can ask again: give the tensors away instead of copies
            ctx.gradients, ctx.is_spent = None, True
            # The incoming factor is 1, or what a gradient scaler or an accumulation divides the loss by. Looking at it
            # costs a wait on an accelerator, which is dearer than the product there.
            if factor.device.type == "cpu" and factor.item() == 1:
                return None, None, *gradients
        return None, None, *[None if one is None else one * factor.to(one.device, one.dtype) for one in gradients]


def _graph_is_kept() -> bool:
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return asked is None or bool(asked())


def carry(value: Tensor, targets: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """Scalar with this value whose backward pass gives each target its gradient, times the incoming factor.

    None leaves the ``.grad`` of its target as it is. The gradients belong to the scalar from now on: they may become
    the ``.grad`` of the targets as they are.
    """
    result: Tensor = _Carrier.apply(value.detach(), list(gradients), *targets)  # type: ignore[no-untyped-call]
    return result


def carry_nothing(value: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Scalar whose backward pass leaves every ``.grad`` as it is: None stays None, so that optimisers skip the step."""
    result: Tensor = _Carrier.apply(value.detach(), None, *targets)  # type: ignore[no-untyped-call]
    return result
