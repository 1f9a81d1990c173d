"""What a rule costs, in multiply-adds, and how many tasks are propagated at a time.

N rows, i inputs, o outputs, p = i o, K tasks. Moving a number to or from memory is counted as ``balance``
multiply-adds. These are estimates to choose by, never a matter of the result.

    form     K N p + K^2 p / 2 + 3 balance K p
    ghost    h N^2 (i + K o) + K^2 N o + N p + balance (3 K N o + N^2)

with h = (1 + 1/b) / 2 for a kernel in b blocks of rows. With rows that belong to one task each (M in all) the same
without what K multiplied:

    form     M p + K^2 p / 2 + 3 balance K p
    ghost    h M^2 (i + o) + M p + balance (2 M^2 + 2 M o)

The products of ghost are smaller, and were measured to run at about four fifths of the speed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.engine.layers.linear import blocks_of_rows
from taskloom.engine.layers.proofs import Layer

__all__ = ["Estimate", "at_a_time", "ghost_is_cheaper", "largest_result", "machine_balance", "of_layer", "of_remaining"]

_BUDGET = 8 << 20
"""Bytes that the gradient of the largest activation may take for all tasks of one batch on a CPU. Larger temporaries
go back to the system after every operation, and fetching them again costs what batching saves."""


@dataclass(frozen=True)
class Estimate:
    """What the rule of a layer costs beyond the propagation of gradients.

    Args:
        bytes: held until the weights are known.
        operations: multiply-adds.
    """

    bytes: int
    operations: int


def machine_balance(device: torch.device) -> int:
    """Multiply-adds that take as long as moving one number."""
    return 20 if device.type == "cpu" else 40


def at_a_time(largest: int, device: torch.device) -> int:
    """Number of tasks to propagate together when the gradient of the largest activation has this many bytes."""
    budget = _BUDGET if device.type != "cuda" else torch.cuda.mem_get_info(device)[0] // 8
    return max(1, budget // max(largest, 1))


def of_layer(layer: Layer, rule: str, n_tasks: int, *, by_row: bool) -> Estimate:
    """Estimate for a layer under a rule.

    Args:
        layer: the layer.
        rule: "form", "ghost" or "grouped".
        n_tasks: number of tasks K.
        by_row: whether every row belongs to one task.
    """
    beta = machine_balance(layer.weight.device)
    size, k, p = layer.weight.element_size(), n_tasks, layer.weight.numel()
    rows = sum(math.prod(call.shape[:-1]) for call in layer.calls)
    own = 1 if by_row else k
    if layer.kind == "embedding":
        width = layer.weight.shape[1]
        return Estimate(k * rows * width * size, own * rows * width + k * k * rows * width // 2)
    if layer.kind == "convolution":
        places = sum(call.shape[0] * math.prod(call.shape[2:]) for call in layer.calls)
        return Estimate(k * p * size, own * places * p + k * k * p // 2 + 3 * beta * k * p)
    o = layer.calls[0].shape[-1]
    i = p // o
    if rule == "form":
        return Estimate(k * p * size, own * rows * p + k * k * p // 2 + 3 * beta * k * p)
    blocks = max(1, len(blocks_of_rows(rows, layer.weight.device)))
    kernel = rows * rows * (blocks + 1) // (2 * blocks)
    if by_row:
        work = kernel * (i + o) + rows * p + beta * (2 * rows * rows + 2 * rows * o)
    else:
        work = kernel * (i + k * o) + k * k * rows * o + rows * p + beta * (3 * k * rows * o + rows * rows)
    return Estimate((own * rows * o + rows * i) * size, work * 5 // 4)


def of_remaining(parameter: Tensor, n_tasks: int) -> Estimate:
    """Estimate for a parameter without a rule, its ordinary gradients not counted."""
    p, beta = parameter.numel(), machine_balance(parameter.device)
    work = n_tasks * n_tasks * p // 2 + 3 * beta * n_tasks * p
    return Estimate(n_tasks * p * parameter.element_size(), work)


def ghost_is_cheaper(layer: Layer, n_tasks: int, *, by_row: bool) -> bool:
    """Which of the two rules of linear layers to take."""
    ghost, form = (of_layer(layer, rule, n_tasks, by_row=by_row) for rule in ("ghost", "form"))
    return ghost.operations < form.operations


def largest_result(layers: Sequence[Layer]) -> int:
    """Bytes of the largest result of a layer."""
    sizes = [math.prod(call.shape) * call.dtype.itemsize for layer in layers for call in layer.calls]
    return max(sizes, default=0)
