"""The way through the heads, for engines that go on from the frontier in their own way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from taskloom.engine._deferred import DeferredRows, Direction
from taskloom.engine.autograd import explained
from taskloom.engine.base import Layout
from taskloom.engine.layers.cotangents import Cotangents
from taskloom.engine.layers.few_labels import FewLabels
from taskloom.engine.layers.frontier import Frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.heads import HeadGradients, through_heads
from taskloom.engine.layers.pool import Lease

__all__ = ["BehindHeads", "go_behind_heads"]


@dataclass(frozen=True)
class BehindHeads:
    """What is known of a step once the heads were gone through.

    Args:
        graph: the graph of the losses.
        frontier: where heads end.
        cotangents: gradients of the tasks there.
        tasks: the tasks that have one, in order.
        n_tasks: number of tasks K.
        heads: gradients of the leaves that one task alone reaches.
        parameters: the shared parameters.
        lease: where to take memory from.
    """

    graph: Graph
    frontier: Frontier
    cotangents: Cotangents
    tasks: tuple[int, ...]
    n_tasks: int
    heads: HeadGradients
    parameters: tuple[Tensor, ...]
    lease: Lease

    def of_tasks(self, chosen: slice) -> list[Tensor]:
        """Cotangents (c, *edge) of neighbours among ``tasks``, one tensor per edge, until the next call."""
        tasks = self.tasks[chosen]
        if tasks[-1] - tasks[0] + 1 == len(tasks):
            return self.cotangents.together(tasks[0], tasks[-1] + 1, self.lease)
        single = [[one.clone() for one in self.cotangents.together(task, task + 1, self.lease)] for task in tasks]
        return [torch.cat(column) for column in zip(*single, strict=True)]

    def of_all(self, products: Tensor) -> Tensor:
        """Products of the tasks that have a gradient as products (K, K) of all tasks, symmetric."""
        whole = products.new_zeros(self.n_tasks, self.n_tasks)
        places = torch.tensor(self.tasks, dtype=torch.long, device=products.device)
        whole[places[:, None], places] = (products + products.T) / 2
        return whole

    def direction(self, weights: Tensor) -> Sequence[Tensor | None]:
        """J^T w by one backward pass from the frontier."""
        roots = self.frontier.targets()
        mixed: dict[int, Tensor] = {}
        with torch.no_grad():
            for task in self.tasks:
                for place, one in zip(*self.cotangents.of_task(task), strict=True):
                    accurate = torch.promote_types(one.dtype, torch.float32)
                    own = one.to(accurate) * weights[task].to(one.device, accurate)
                    mixed[place] = own if place not in mixed else mixed[place].add_(own)
        if not mixed:
            return [None] * len(self.parameters)
        given = [one.to(self.cotangents.shapes[place][1]) for place, one in mixed.items()]
        with explained():
            return torch.autograd.grad(
                [roots[place] for place in mixed], self.parameters, given, retain_graph=True, allow_unused=True
            )

    def rows(self, products: Tensor, direction: Direction, measured_by: str) -> DeferredRows:
        """The result of a step."""
        return DeferredRows(
            products,
            direction,
            layout=Layout(self.parameters),
            leaves=tuple(self.graph.leaves.values()),
            heads=self.heads,
            measured_by=measured_by,
        )


def go_behind_heads(
    graph: Graph,
    losses: Sequence[Tensor | None],
    parameters: Sequence[Tensor],
    *,
    frontier: Frontier,
    targets: Collection[Any],
    lease: Lease,
) -> BehindHeads | None:
    """Go through the heads; None where rows have labels of few tasks, so that fewer passes are enough.

    Args:
        graph: the graph of the losses.
        losses: one scalar per task, None for an absent task.
        parameters: the shared parameters.
        frontier: where heads end.
        targets: operations whose gradient is wanted.
        lease: where to take memory from.
    """
    rows = frontier.keeps_rows_apart(graph, [*targets])
    found, heads = through_heads(graph, losses, _leaves(graph, parameters), frontier, looks_for_rows=rows > 0)
    if rows and FewLabels.find(found, rows, len(losses)) is not None:
        return None
    return BehindHeads(graph, frontier, found, tuple(found.tasks()), len(losses), heads, tuple(parameters), lease)


def _leaves(graph: Graph, parameters: Sequence[Tensor]) -> dict[int, list[Tensor]]:
    """Leaves outside the parameters, by the one task that reaches them."""
    known = {id(parameter) for parameter in parameters}
    found: dict[int, list[Tensor]] = {}
    for leaf in graph.leaves.values():
        owner = graph.owner(graph.accumulators[id(leaf)])
        if id(leaf) not in known and isinstance(owner, int) and owner >= 0:
            found.setdefault(owner, []).append(leaf)
    return found
