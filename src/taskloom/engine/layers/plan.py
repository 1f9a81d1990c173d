"""How the gradients of a step are propagated, and which rule each layer follows: chosen before any work is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from taskloom.engine.layers.costs import at_a_time, ghost_is_cheaper, largest_result
from taskloom.engine.layers.frontier import Frontier, find_frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.owners import MIXED, ByRow
from taskloom.engine.layers.proofs import Layer, Remaining, find_layers

__all__ = ["Batching", "Course", "Plan", "Rule", "belongs_by_row", "make_plan", "rule_of", "without_rows"]

Rule = Literal["auto", "form", "ghost", "parameters"]
Batching = Literal["auto", "never", "always"] | int
Course = Literal["task by task", "one pass", "from features"]


@dataclass(frozen=True)
class Plan:
    """What to do in a step.

    Args:
        layers: layers with a rule.
        remaining: parameters on the parameter path.
        course: "task by task": one pass from each loss; "one pass": every row belongs to one task, and one pass of the
            summed losses carries all; "from features": heads first, then from the frontier.
        frontier: where heads end, for passes from the features.
        at_a_time: tasks that are propagated together from the features.
        rows: number of rows that stay apart behind the frontier; 0 if they do not.
    """

    layers: tuple[Layer, ...]
    remaining: tuple[Remaining, ...]
    course: Course
    frontier: Frontier | None = None
    at_a_time: int = 1
    rows: int = 0


def make_plan(
    graph: Graph, parameters: Sequence[Tensor], *, rule: Rule, batching: Batching, looks_for_few_labels: bool = True
) -> Plan:
    """Choose for the graph of a step.

    Args:
        graph: the graph of the losses.
        parameters: those whose task gradients are wanted.
        rule: the rule of linear layers, or "parameters" for no rules at all.
        batching: tasks to propagate together: chosen by memory, never, all, or a number.
        looks_for_few_labels: whether rows with few labels are worth looking for.
    """
    layers, remaining = find_layers(graph, parameters)
    if rule == "parameters":
        remaining += [Remaining(place, "no rules wanted") for layer in layers for place in layer.places]
        layers = []
    accumulators = [graph.accumulators[id(parameters[one.place])] for one in remaining]
    owners = [call.owner for layer in layers for call in layer.calls]
    rest = [graph.owner(node) for node in accumulators]
    if any(isinstance(owner, ByRow) for owner in owners) and all(
        isinstance(owner, ByRow) or owner != MIXED for owner in owners
    ):
        if all(isinstance(owner, int) and owner != MIXED for owner in rest):
            return Plan(tuple(layers), tuple(remaining), "one pass")
        return _task_by_task(layers, remaining)

    if (rule, batching) == ("auto", "auto") and not graph.has_rows and _is_small(layers, len(graph.roots)):
        small = [Remaining(place, "small: gradients cost less than a rule") for one in layers for place in one.places]
        return Plan((), (*remaining, *small), "task by task")
    calls = [call.node for layer in layers for call in layer.calls]
    frontier = find_frontier(graph, [*calls, *accumulators]) if len(graph.roots) > 1 else None
    if frontier is None:
        return _task_by_task(layers, remaining)
    number = _number(frontier, layers, parameters, batching, len(graph.roots))
    rows = 0
    if looks_for_few_labels and not remaining and layers:
        rows = frontier.keeps_rows_apart(graph, calls)
    if number == 1 and not rows and not frontier.is_stacked and frontier.bytes_held() > _MOST_HELD:
        return _task_by_task(layers, remaining)
    if number == 1 and not rows:
        layers, remaining = _without_convolutions(layers, remaining)
    return Plan(tuple(layers), tuple(remaining), "from features", frontier, number, rows)


def without_rows(plan: Plan) -> Plan:
    """The plan for a batch of which the rows turned out to have labels of many tasks."""
    if plan.at_a_time > 1:
        return plan
    layers, remaining = _without_convolutions([*plan.layers], [*plan.remaining])
    return replace(plan, layers=tuple(layers), remaining=tuple(remaining))


def rule_of(layer: Layer, n_tasks: int, rule: Rule, *, by_row: bool) -> str:
    """Rule of one layer."""
    if layer.kind == "embedding":
        return "grouped"
    if layer.kind == "convolution":
        return "form"
    if rule in ("form", "ghost"):
        return rule
    return "ghost" if ghost_is_cheaper(layer, n_tasks, by_row=by_row) else "form"


def belongs_by_row(layer: Layer) -> bool:
    """Whether every row of a layer belongs to one task."""
    return all(isinstance(call.owner, ByRow) or call.owner != MIXED for call in layer.calls)


def _task_by_task(layers: list[Layer], remaining: list[Remaining]) -> Plan:
    layers, remaining = _without_convolutions(layers, remaining)
    return Plan(tuple(layers), tuple(remaining), "task by task")


def _without_convolutions(layers: list[Layer], remaining: list[Remaining]) -> tuple[list[Layer], list[Remaining]]:
    """One by one, autograd's own weight gradient of a convolution is as good."""
    moved = [
        Remaining(place, "convolution, one task at a time")
        for layer in layers
        if layer.kind == "convolution"
        for place in layer.places
    ]
    return [layer for layer in layers if layer.kind != "convolution"], remaining + moved


def _is_small(layers: Sequence[Layer], n_tasks: int) -> bool:
    """Whether ordinary weight gradients take less time than the bookkeeping of rules."""
    work = sum(math.prod(call.shape[:-1]) * layer.weight.numel() for layer in layers for call in layer.calls)
    return layers[:1] != [] and n_tasks * work < _SMALL and layers[0].weight.device.type == "cpu"


def _number(
    frontier: Frontier, layers: Sequence[Layer], parameters: Sequence[Tensor], batching: Batching, n_tasks: int
) -> int:
    """Tasks to propagate together from the features."""
    names = frontier.names()
    device = parameters[0].device
    if batching == "never" or any(name.startswith(_OPAQUE) for name in names):
        return 1  # vmap cannot go through a compiled region
    if batching == "always":
        return n_tasks
    if isinstance(batching, int):
        return min(batching, n_tasks)
    if device.type == "cpu":
        # Several tasks at a time, normalisation and attention fall apart into more and larger operations, convolutions
        # are copied, and products of many rows gain nothing. Few rows do: a weight is read once for all tasks.
        rows = max((math.prod(call.shape[:-1]) for layer in layers for call in layer.calls), default=0)
        if rows > _FEW_ROWS or any(word in name for name in names for word in _SLOW_TOGETHER):
            return 1
    number = min(n_tasks, at_a_time(max(largest_result(layers), frontier.largest()), device))
    return number if number >= min(3, n_tasks) else 1


_OPAQUE = ("CompiledFunction", "AOTDispatch")
_SLOW_TOGETHER = ("Norm", "Softmax", "Bmm", "Attention", "Convolution", "Pool")
_FEW_ROWS = 128
_SMALL = 1 << 23
"""Multiply-adds."""
_MOST_HELD = 1 << 25
"""Bytes of gradients at the frontier above which separate heads are gone through once per task."""
