"""The frontier: the edges through which the gradients of all tasks enter the part of the graph that they share.

From the losses down to the frontier every operation works for one task (a head), or for all of them row by row (heads
computed as one batched operation). The gradients of the tasks there, the cotangents Z_k, are had by going through the
heads once in all; what lies behind is gone through with Z, several tasks at a time if that pays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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
    """An operation above the frontier that hands gradients of tasks to it, row by row."""

    node: Any
    position: int
    place: int
    owner: ByRow


@dataclass(frozen=True)
class Frontier:
    """Where heads end.

    Args:
        edges: operations whose gradient all tasks contribute to, and which of their outputs.
        of_task: task -> positions of the edges that it reaches.
        sources: operations that work for all tasks at once; empty where every task has a head of its own.
        behind: operations behind the frontier that matter.
    """

    edges: tuple[Edge, ...]
    of_task: dict[int, list[int]]
    sources: tuple[_Source, ...]
    behind: frozenset[Any]

    @property
    def is_stacked(self) -> bool:
        """Whether heads are computed as one batched operation."""
        return bool(self.sources)

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

    def stacked_cotangents(self, gradients: Sequence[Tensor | None], into: Sequence[Tensor]) -> None:
        """Write Z, from the gradients of the sum of all losses at the results of the sources."""
        for whole in into:
            whole.zero_()
        for source, gradient in zip(self.sources, gradients, strict=True):
            if gradient is None:
                continue
            left = saved(source.node, "self") if source.node.name() == "MmBackward0" else None
            for task, rows in source.owner.slices(gradient.shape[0]):
                own = gradient[rows]
                into[source.place][task] += own.sum(0) if left is None else left[rows].T @ own


def find_frontier(graph: Graph, targets: Sequence[Any]) -> Frontier | None:
    """The frontier above some operations, all of which several tasks reach; None where there is none to work with.

    There is none where a task enters at a place that another frontier edge leads to (a network that is left at several
    depths), since gradients would be mixed there.
    """
    if any(graph.owner(node) != MIXED for node in targets) or not targets:
        return None
    behind = {node for node in graph.leading_to(targets) if graph.is_mixed(node)}
    if any(node in behind for node, _ in graph.roots.values()):
        return None
    places: dict[Edge, int] = {}
    of_task: dict[int, list[int]] = {task: [] for task in graph.roots}
    sources: list[_Source] = []
    has_own = False
    for node in behind:
        inside = {user in behind for user, _ in graph.users[node] if user in behind or graph.owners.get(user)}
        if len(inside) > 1:
            return None
        if inside == {True}:
            continue
        for user, position in graph.users[node]:
            edge = graph.inputs[user][position]
            place = places.setdefault(edge, len(places))
            owner = graph.given(user, position)
            if isinstance(owner, int) and owner >= 0:
                has_own = True
                if place not in of_task[owner]:
                    of_task[owner].append(place)
                continue
            source = _source(graph, user, position, place)
            if source is None:
                return None
            sources.append(source)
    if not places or (sources and has_own):
        return None
    # the targets must be reached through the frontier alone
    if any(not graph.is_mixed(node) and any(user not in behind for user, _ in graph.users[node]) for node in targets):
        return None
    return Frontier(tuple(places), of_task, tuple(sources), frozenset(behind))


def _source(graph: Graph, user: Any, position: int, place: int) -> _Source | None:
    """An operation of which the gradients of the tasks can be told apart after the fact."""
    owner = graph.owner(user)
    if not isinstance(owner, ByRow):
        return None
    child, output = graph.inputs[user][position]
    inside, outside = shape_of(child, output), shape_of(user)
    name = user.name()
    is_copied = name == "ExpandBackward0" and inside == outside[1:]
    is_right_factor = name == "MmBackward0" and position == 1
    if outside[0] % owner.n_rows or not (is_copied or is_right_factor):
        return None
    return _Source(user, position, place, owner)
