"""What a gate reads: one row of numbers per sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["GateInput", "gate_rows", "pooled"]

GateInput = Callable[[Any], Tensor]


def gate_rows(value: Any, gate_input: GateInput | None) -> Tensor:
    """Rows (B, d) for a gate: what ``gate_input`` makes of the value, or by default the value itself or its averages.

    Args:
        value: what the experts read.
        gate_input: the user's function; None: :func:`pooled`.

    Raises:
        TaskError: the result is no matrix of floating point numbers.
    """
    rows = pooled(value) if gate_input is None else gate_input(value)
    if not isinstance(rows, Tensor) or rows.ndim != 2 or not rows.is_floating_point():
        found = f"{tuple(rows.shape)} {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise TaskError(
            f"gate input must be (batch, features) of floating point numbers, got {found}; give gate_input= (a "
            "function of what the experts read)"
        )
    return rows


def pooled(value: Any) -> Any:
    """Rows as they are, tokens (B, N, D) and images (B, C, height, width) averaged; anything else unchanged.

    Example:
        >>> import torch
        >>> pooled(torch.zeros(2, 3, 8, 8)).shape, pooled(torch.zeros(2, 7, 5)).shape
        (torch.Size([2, 3]), torch.Size([2, 5]))
    """
    if isinstance(value, Tensor) and value.ndim == 3:
        return value.mean(1)
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.mean((2, 3))
    return value


def check_gate_input(gate_input: GateInput | None) -> None:
    """Raise TaskError for a gate input with parameters: gates that are private to their task would share them."""
    if isinstance(gate_input, nn.Module) and any(True for _ in gate_input.parameters()):
        raise TaskError(
            f"gate_input must be a function without parameters, found {type(gate_input).__name__}; put layers that are "
            "to be learned into the experts"
        )
