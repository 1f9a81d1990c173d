"""Say what the task gradients of a model cost, layer by layer, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from taskloom.engine._inputs import read_losses, read_parameters
from taskloom.engine.autograd import explained
from taskloom.engine.layers.costs import Estimate, of_layer, of_remaining
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.plan import Plan, belongs_by_row, rule_of
from taskloom.errors import EngineError

__all__ = ["CostTable", "LayerCost", "explain_cost"]


@dataclass(frozen=True)
class LayerCost:
    """What one layer, or one parameter without a rule, costs.

    Args:
        parameters: their names.
        layer: what it computes; "" for a single parameter.
        rule: "form" (K weight gradients), "ghost" (none), "grouped" (rows of a table), "parameter" (ordinary gradients)
            or "unused".
        reason: why no rule takes it; "" where one does.
        bytes: memory held until the weights are known.
        operations: multiply-adds beyond the propagation of gradients, estimated; moved numbers are counted in.

    Example:
        >>> LayerCost(("weight", "bias"), "linear", "form", "", 4800, 6000).rule
        'form'
    """

    parameters: tuple[str, ...]
    layer: str
    rule: str
    reason: str
    bytes: int
    operations: int


@dataclass(frozen=True)
class CostTable:
    """What the task gradients of a model cost. ``print`` it.

    Args:
        tasks: names of the tasks.
        passes: how gradients are propagated.
        layers: one entry per layer or parameter.

    Example:
        >>> table = CostTable(("a", "b"), "task by task", (LayerCost(("w",), "linear", "form", "", 4800, 6000),))
        >>> print(table)
        2 tasks, task by task
        parameters  layer   rule  reason  bytes     multiply-adds
        w           linear  form          4.7 KiB   6.0 k
    """

    tasks: tuple[str, ...]
    passes: str
    layers: tuple[LayerCost, ...]

    @property
    def bytes(self) -> int:
        """Memory held until the weights are known."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def operations(self) -> int:
        """Multiply-adds beyond the propagation of gradients."""
        return sum(layer.operations for layer in self.layers)

    def text(self) -> str:
        """The table."""
        head = ("parameters", "layer", "rule", "reason", "bytes", "multiply-adds")
        cells = [
            (_short(one.parameters), one.layer, one.rule, one.reason, _size(one.bytes), _count(one.operations))
            for one in self.layers
        ]
        if len(cells) > 1:
            cells.append(("total", "", "", "", _size(self.bytes), _count(self.operations)))
        widths = [max(len(row[column]) for row in (head, *cells)) for column in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *cells)
        ]
        return "\n".join([f"{len(self.tasks)} tasks, {self.passes}", *(line.rstrip() for line in lines)])

    def __str__(self) -> str:
        return self.text()


def explain_cost(model: nn.Module, losses: Mapping[str, Tensor], *, engine: LayerEngine | None = None) -> CostTable:
    """Which layers take part in the products of task gradients by a rule, which do not and why, and what that costs.

    Nothing is propagated: the answer is read from the graph of the losses, which stays usable. It holds for one process
    and for methods that need products of gradients, not single entries.

    Args:
        model: the shared part: a module (all its parameters) or a multi-task model (its ``shared_parameters()``).
        losses: task name -> scalar loss with a graph.
        engine: the engine to ask; default: the one that :func:`taskloom.balance` uses.

    Returns:
        the table; ``print`` it.

    Raises:
        EngineError: something that is no module; losses that are no scalars or have no graph.

    Cost:
        one walk over the graph.

    Distributed:
        describes one process. With several, one backward pass per task is made and rows are averaged.

    Example:
        >>> import torch
        >>> import taskloom as tl
        >>> encoder = nn.Sequential(nn.Linear(8, 512), nn.LayerNorm(512), nn.Linear(512, 512))
        >>> z = encoder(torch.ones(16, 8))
        >>> table = explain_cost(encoder, {"a": z.mean(), "b": z.square().mean()})
        >>> [(layer.parameters[0], layer.rule, layer.reason) for layer in table.layers][2:]
        [('1.bias', 'parameter', 'used by NativeLayerNorm'), ('2.weight', 'ghost', '')]
    """
    if not isinstance(model, nn.Module):
        raise EngineError(f"explain_cost() names parameters and needs the module, found {type(model).__name__}")
    tasks, values = read_losses(losses)
    parameters = read_parameters(model)
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    names = [known.get(id(parameter), f"parameter {place}") for place, parameter in enumerate(parameters)]
    asked = engine or LayerEngine()
    with explained():
        graph = Graph(values)
        plan = asked.plan(graph, parameters)
    by_row = plan.course == "one pass"
    found: dict[int, LayerCost] = {}
    for layer in plan.layers:
        own = by_row or belongs_by_row(layer)
        rule = rule_of(layer, len(tasks), asked.rule, by_row=own)
        estimate = of_layer(layer, rule, len(tasks), by_row=own)
        found[layer.places[0]] = _entry([names[place] for place in layer.places], layer.kind, rule, "", estimate)
    for one in plan.remaining:
        estimate = of_remaining(parameters[one.place], len(tasks))
        found[one.place] = _entry([names[one.place]], "", "parameter", one.reason, estimate)
    covered = {place for layer in plan.layers for place in layer.places}
    for place in range(len(parameters)):
        if place not in found and place not in covered:
            found[place] = _entry([names[place]], "", "unused", "no loss reaches it", Estimate(0, 0))
    return CostTable(tasks, _passes(plan), tuple(found[place] for place in sorted(found)))


def _entry(names: list[str], layer: str, rule: str, reason: str, estimate: Estimate) -> LayerCost:
    return LayerCost(tuple(names), layer, rule, reason, estimate.bytes, estimate.operations)


def _passes(plan: Plan) -> str:
    if plan.course == "one pass":
        return "one pass for all (every row belongs to one task)"
    if plan.course == "task by task":
        return "task by task"
    together = "one task at a time" if plan.at_a_time == 1 else f"{plan.at_a_time} tasks at a time"
    fewer = "; fewer passes for batches in which rows have few labels" if plan.rows else ""
    return f"heads first, then {together} from the features{fewer}"


def _size(number: int) -> str:
    return _scaled(number, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def _count(number: int) -> str:
    return _scaled(number, 1000, ("", "k", "M", "G", "T", "P"))


def _scaled(number: float, step: int, units: tuple[str, ...]) -> str:
    place = 0
    while number >= step and place + 1 < len(units):
        number, place = number / step, place + 1
    return f"{number:.1f} {units[place]}" if place else f"{number:.0f} {units[0]}".rstrip()


def _short(names: Sequence[str]) -> str:
    """Names of one layer, its path written once."""
    path = names[0].rpartition(".")[0]
    rest = [name.removeprefix(f"{path}.") if name.rpartition(".")[0] == path else name for name in names[1:]]
    return ", ".join([names[0], *rest])
