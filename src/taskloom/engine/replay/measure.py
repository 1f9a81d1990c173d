"""Measure a step by replay: through the heads as the exact engine goes, then through the shared part by a program."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from taskloom.engine._heads import BehindHeads, go_behind_heads
from taskloom.engine.layers.costs import at_a_time, largest_result
from taskloom.engine.layers.frontier import Frontier, find_frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.part import Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import wide
from taskloom.engine.layers.proofs import Layer, Remaining
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.replay.program import Program, Take

__all__ = ["MakePart", "Replayed", "measure_by_replay"]

MakePart = Callable[[Layer, int, Lease], Part]
"""Makes what the output gradients of a layer of K tasks are handed to."""

_NOT_REPLAYED = ("stored elsewhere", "has a hook")
"""Parts of the reasons of ``layers/proofs.py``: what autograd does besides passing gradients on."""


@dataclass(frozen=True)
class Replayed:
    """What a replay has found.

    Args:
        parts: what the layers have kept.
        remaining: the other parameters.
        behind: what was known before.
    """

    parts: tuple[Part, ...]
    remaining: RemainingRows
    behind: BehindHeads

    def added_up(self, found: Sequence[Tensor]) -> Tensor:
        """Sum of the products of all parts and of the remaining parameters, (K, K) in float64."""
        device, n_tasks = self.behind.parameters[0].device, len(self.behind.tasks)
        total = torch.zeros(n_tasks, n_tasks, dtype=wide(device), device=device)
        rest = self.remaining.gramian()
        for one in (*found, *(() if rest is None else (rest,))):
            total += one.to(device)
        return self.behind.of_all(total)


def measure_by_replay(
    graph: Graph,
    losses: Sequence[Tensor | None],
    parameters: Sequence[Tensor],
    *,
    layers: Sequence[Layer],
    remaining: Sequence[Remaining],
    make_part: MakePart,
    dtype: torch.dtype,
    lease: Lease,
) -> Replayed | str:
    """Go through the heads once and through the shared part by replay.

    Args:
        graph: the graph of the losses.
        losses: one scalar per task, None for an absent task.
        parameters: those whose gradients are wanted.
        layers: layers with a rule.
        remaining: the other parameters that some loss reaches.
        make_part: makes the parts.
        dtype: precision of the replay.
        lease: where to take memory from.

    Returns:
        what was found, or why this graph is not replayed.
    """
    for one in remaining:
        if any(word in one.reason for word in _NOT_REPLAYED):
            return f"a parameter {one.reason}" if "hook" in one.reason else f"of a layer, {one.reason}"
    ends = {graph.accumulators[id(parameters[one.place])]: number for number, one in enumerate(remaining)}
    calls = {call.node: (layer, place) for layer in layers for place, call in enumerate(layer.calls)}
    targets = [*calls, *ends]
    frontier = find_frontier(graph, targets)
    if frontier is None:
        return "the tasks do not meet in common features, or each of them has rows of its own"
    objection = _objection(frontier, parameters[0].device)
    if objection:
        return objection
    behind = go_behind_heads(graph, losses, parameters, frontier=frontier, targets=targets, lease=lease)
    if behind is None:
        return "rows have labels of few tasks"
    n_tasks = len(behind.tasks)
    parts = {id(layer): make_part(layer, n_tasks, lease) for layer in layers}
    rest = RemainingRows([parameters[one.place] for one in remaining], n_tasks, lease)
    program = Program(graph, frontier, targets, dtype)
    largest = max(largest_result(layers), frontier.largest()) * dtype.itemsize // parameters[0].dtype.itemsize
    for chunk, is_last in _chunks(n_tasks, _together(frontier, largest, parameters[0].device)):
        arrived: list[Tensor | None] = [None] * len(remaining)
        take: dict[Any, Take] = {
            node: _handing(parts[id(layer)], place, chunk.start) for node, (layer, place) in calls.items()
        }
        take |= {node: _keeping(arrived, place) for node, place in ends.items()}
        program.run(behind.of_tasks(chunk), take, is_last=is_last)
        if remaining:
            rest.take_several(chunk.start, arrived)
    for part in parts.values():
        part.finish()
    rest.finish()
    return Replayed(tuple(parts.values()), rest, behind)


def _objection(frontier: Frontier, device: torch.device) -> str:
    """What a replay cannot do; empty if it can."""
    for node in frontier.behind:
        if isinstance(node, torch.autograd.function.BackwardCFunction) or node.name() == "CopySlices":
            return f"the graph has the operation {node.name().removesuffix('Backward')}"
        for result in getattr(node, "_input_metadata", ()):
            if result.dtype.is_complex:
                return "the graph has complex numbers"
            if result.device != device:
                return "the shared part lies on several devices"
    return ""


def _together(frontier: Frontier, largest: int, device: torch.device) -> int:
    """Tasks to propagate together; convolutions of many images gain nothing on a CPU."""
    if device.type == "cpu" and any("Convolution" in name for name in frontier.names()):
        return 1
    return at_a_time(largest, device)


def _chunks(n_tasks: int, together: int) -> list[tuple[slice, bool]]:
    """Stretches of tasks, of about one size; and whether a stretch is the last one."""
    number = math.ceil(n_tasks / together)
    starts = [n_tasks * place // max(number, 1) for place in range(number + 1)]
    return [(slice(first, last), last == n_tasks) for first, last in itertools.pairwise(starts)]


def _handing(part: Part, call: int, first: int) -> Take:
    return lambda gradients: part.take(call, first, gradients)


def _keeping(arrived: list[Tensor | None], place: int) -> Take:
    def keep(gradients: Tensor) -> None:
        arrived[place] = gradients

    return keep
