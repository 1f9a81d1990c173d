"""The frontier: the edges through which the gradients of all tasks enter the part of the graph that they share.

From the losses down to the frontier every operation works for one task (a head), or for all of them row by row (heads
computed as one batched operation). The gradients of the tasks there, the cotangents Z_k, are had by going through the
heads once in all; what lies behind is gone through with Z, several tasks at a time if that pays.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from taskloom.engine.layers.capture import saved
from taskloom.engine.layers.graph import Edge, Graph
from taskloom.engine.layers.owners import MIXED, ByRow
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.rows import keeps_rows, shape_of

__all__ = ["Frontier", "find_frontier"]


@dataclass(frozen=True)
class _Source:
    """An operation above the frontier that hands gradients of tasks to it, row by row; maybe transposed."""

    node: Any
    place: int
    owner: ByRow
    is_turned: bool


@dataclass(frozen=True)
class Frontier:
    """Where heads end.

    Args:
        edges: operations whose gradient all tasks contribute to, and which of their outputs.
        of_task: task -> positions of the edges that it reaches.
        sources: operations that work for all tasks at once; empty where every task has a head of its own.
        exits: task -> last operations of its head (and which of their results), where heads are computed together but
            end apart, as they do behind forks; empty where going through the head of one task touches no other.
        behind: operations behind the frontier that matter.
    """

    edges: tuple[Edge, ...]
    of_task: dict[int, list[int]]
    sources: tuple[_Source, ...]
    exits: dict[int, list[Edge]]
    behind: frozenset[Any]

    @property
    def is_stacked(self) -> bool:
        """Whether heads are computed together, so that one pass carries all tasks to the frontier."""
        return bool(self.sources or self.exits)

    def targets(self) -> list[GradientEdge]:
        """The edges as autograd takes them."""
        return [GradientEdge(node, output) for node, output in self.edges]

    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the gradients at the edges."""
        return [shape_of(node, output) for node, output in self.edges]

    def largest(self) -> int:
        """Bytes of the largest gradient at an edge."""
        found = [node._input_metadata[output] for node, output in self.edges]
        return max(int(math.prod(one.shape)) * int(one.dtype.itemsize) for one in found)

    def names(self) -> set[str]:
        """Kinds of operations behind the frontier."""
        return {node.name() for node in self.behind}

    def keeps_rows_apart(self, graph: Graph, targets: Iterable[Any]) -> int:
        """Number of rows, if the gradient of row i at every target depends on row i at the frontier alone; else 0."""
        targets = list(targets)
        sizes = {shape[0] if shape else 0 for shape in self.shapes()}
        devices = {
            node._input_metadata[output].device for node, output in (*self.edges, *((one, 0) for one in targets))
        }
        n_rows = max(sizes)
        if len(sizes) > 1 or len(devices) > 1 or n_rows < 2:
            return 0
        wanted = graph.leading_to(targets)
        waiting = [node for node, _ in self.edges]
        seen = set(waiting)
        while waiting:
            node = waiting.pop()
            name = node.name()
            for position, (child, _) in enumerate(graph.inputs[node]):
                if child is None or child not in wanted:
                    continue
                if not keeps_rows(node, name, position, n_rows):
                    return 0
                if child not in seen:
                    seen.add(child)
                    waiting.append(child)
        return n_rows

    def empty(self, n_tasks: int, lease: Lease) -> list[Tensor]:
        """Room for the cotangents Z, (K, *edge) per edge."""
        found = []
        for node, output in self.edges:
            like = node._input_metadata[output]
            found.append(lease.take((n_tasks, *like.shape), like.dtype, like.device))
        return found

    def filled(self, gradients: Sequence[Tensor | None]) -> list[Tensor]:
        """One gradient per edge, zeros where there is none."""
        found = []
        for gradient, (node, output) in zip(gradients, self.edges, strict=True):
            like = node._input_metadata[output]
            if gradient is None:
                gradient = torch.zeros(like.shape, dtype=like.dtype, device=like.device)
            found.append(gradient)
        return found

    def ends_of_heads(self) -> list[GradientEdge]:
        """The results at which the gradients of tasks can be told apart."""
        ends = [(one.node, 0) for one in self.sources]
        ends += [edge for of_task in self.exits.values() for edge in of_task]
        return [GradientEdge(node, output) for node, output in ends]

    def stacked_cotangents(self, gradients: Sequence[Tensor | None], into: Sequence[Tensor]) -> None:
        """Write Z, from the gradients of the sum of all losses at the ends of heads."""
        for whole in into:
            whole.zero_()
        for source, gradient in zip(self.sources, gradients, strict=False):
            if gradient is None:
                continue
            left = saved(source.node, "self") if source.node.name() == "MmBackward0" else None
            for task, rows in source.owner.slices(gradient.shape[0]):
                own = gradient[rows]
                if left is None:
                    into[source.place][task] += own.sum(0)
                else:
                    into[source.place][task] += own.T @ left[rows] if source.is_turned else left[rows].T @ own
        rest = iter(gradients[len(self.sources) :])
        targets = self.targets()
        for task, of_task in self.exits.items():
            known = [(edge, gradient) for edge in of_task if (gradient := next(rest)) is not None]
            if not known:
                continue
            last = [GradientEdge(node, output) for (node, output), _ in known]
            places = self.of_task[task]
            found = torch.autograd.grad(
                last,
                [targets[place] for place in places],
                [gradient for _, gradient in known],
                retain_graph=True,
                allow_unused=True,
            )
            for place, own in zip(places, found, strict=True):
                if own is not None:
                    into[place][task].copy_(own)


def find_frontier(graph: Graph, targets: Sequence[Any]) -> Frontier | None:
    """The frontier above some operations, all of which several tasks reach; None where there is none to work with.

    There is none where a task enters at a place that another frontier edge leads to (a network that is left at several
    depths), since gradients would be mixed there.
    """
    if any(graph.owner(node) != MIXED for node in targets) or not targets:
        return None
    leading = graph.leading_to(targets)
    behind = {node for node in leading if graph.is_mixed(node)}
    if any(node in behind for node, _ in graph.roots.values()):
        return None
    # features that a batched head reads transposed are the frontier, not their transpose
    turned = {node for node in behind if node.name() == "TBackward0" and _is_read_by_heads(graph, node)}
    behind -= turned
    places: dict[Edge, int] = {}
    of_task: dict[int, list[int]] = {task: [] for task in graph.roots}
    sources: list[_Source] = []
    exits: dict[int, list[Edge]] = {}
    for node in graph.inputs:  # in an order that does not depend on addresses
        if node not in behind:
            continue
        inside = {user in behind for user, _ in graph.users[node] if user in behind or graph.owners_of(user)}
        if len(inside) > 1:
            return None
        if inside == {True}:
            continue
        for user, position in graph.users[node]:
            edge = graph.inputs[user][position]
            place = places.setdefault(edge, len(places))
            if user in turned:
                found = [_source(graph, head, where, place, is_turned=True) for head, where in graph.users[user]]
                sources.extend(one for one in found if one is not None)
                continue
            owner = graph.given(user, position)
            if isinstance(owner, int) and owner >= 0:
                if place not in of_task[owner]:
                    of_task[owner].append(place)
                ends = exits.setdefault(owner, [])
                ends.extend((user, output) for output in graph.owners_of(user) if (user, output) not in ends)
                continue
            source = _source(graph, user, position, place)
            if source is None:
                return None
            sources.append(source)
    if not places or (sources and exits):
        return None
    # the targets must be reached through the frontier alone
    if any(not graph.is_mixed(node) and any(user not in behind for user, _ in graph.users[node]) for node in targets):
        return None
    if not _are_entangled(graph, leading - behind, behind, exits):
        exits = {}
    return Frontier(tuple(places), of_task, tuple(sources), exits, frozenset(behind))


def _are_entangled(graph: Graph, above: Collection[Any], behind: Collection[Any], exits: dict[int, list[Edge]]) -> bool:
    """Whether the head of a task cannot be gone through without those of others, although their ends are apart."""
    if all(isinstance(graph.owner(node), int) and graph.owner(node) != MIXED for node in above):
        return False
    for ends in exits.values():
        for node, _ in ends:  # from an end, gradients must go behind the frontier and nowhere else
            if any(child in above and child not in behind for child, _ in graph.inputs[node]):
                return False
    return bool(exits)


def _is_read_by_heads(graph: Graph, node: Any) -> bool:
    return all(_source(graph, user, position, 0, is_turned=True) for user, position in graph.users[node])


def _source(graph: Graph, user: Any, position: int, place: int, *, is_turned: bool = False) -> _Source | None:
    """An operation of which the gradients of the tasks can be told apart after the fact."""
    owner = graph.owner(user)
    if not isinstance(owner, ByRow):
        return None
    child, output = graph.inputs[user][position]
    inside, outside = shape_of(child, output), shape_of(user)
    name = user.name()
    is_copied = name == "ExpandBackward0" and inside == outside[1:]
    is_right_factor = name == "MmBackward0" and position == 1
    if outside[0] % owner.n_rows or not (is_right_factor or (is_copied and not is_turned)):
        return None
    return _Source(user, place, owner, is_turned)
