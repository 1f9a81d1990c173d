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
from torch.autograd.graph import GradientEdge

from taskloom.engine.layers.capture import right_factor
from taskloom.engine.layers.graph import Edge, Graph
from taskloom.engine.layers.owners import MIXED, ByRow
from taskloom.engine.layers.rows import keeps_rows, shape_of

__all__ = ["Exit", "Frontier", "Source", "find_frontier"]


@dataclass(frozen=True)
class Source:
    """An operation above the frontier that hands gradients of tasks to one of its edges, row by row; maybe transposed.

    Args:
        node: the operation: a product with the features on either side, or a copy of them for every task.
        place: position of the edge.
        owner: whose rows, or columns, they are.
        is_turned: whether the features are transposed on the way.
    """

    node: Any
    place: int
    owner: ByRow
    is_turned: bool


@dataclass(frozen=True)
class Exit:
    """The last operation of the head of one task.

    Args:
        node: the operation.
        position: which of its inputs.
        place: position of the edge of the frontier that it reads there.
    """

    node: Any
    position: int
    place: int

    @property
    def is_whole(self) -> bool:
        """Whether the gradient that it hands over has to be kept as it is (see ``cotangents.py``)."""
        return right_factor(self.node, self.position) is None


@dataclass(frozen=True)
class Frontier:
    """Where heads end.

    Args:
        edges: operations whose gradient all tasks contribute to, and which of their outputs.
        sources: operations that work for all tasks at once; empty where every task has a head of its own.
        exits: task -> last operations of its head.
        behind: operations behind the frontier that matter.
        is_stacked: whether heads are computed together, so that a pass through one goes through others.
    """

    edges: tuple[Edge, ...]
    sources: tuple[Source, ...]
    exits: dict[int, list[Exit]]
    behind: frozenset[Any]
    is_stacked: bool

    def targets(self, edges: Sequence[Edge] | None = None) -> list[GradientEdge]:
        """Edges as autograd takes them; default: all."""
        return [GradientEdge(node, output) for node, output in (self.edges if edges is None else edges)]

    def metadata(self) -> list[tuple[tuple[int, ...], torch.dtype, torch.device]]:
        """Shape, dtype and device of the gradients at the edges."""
        found = [node._input_metadata[output] for node, output in self.edges]
        return [(tuple(one.shape), one.dtype, one.device) for one in found]

    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the gradients at the edges."""
        return [shape_of(node, output) for node, output in self.edges]

    def largest(self) -> int:
        """Bytes of the largest gradient at an edge."""
        found = [node._input_metadata[output] for node, output in self.edges]
        return max(int(math.prod(one.shape)) * int(one.dtype.itemsize) for one in found)

    def bytes_held(self) -> int:
        """Bytes of the gradients at the edges that are kept until tasks are propagated."""
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype, _ in self.metadata()]
        exits = sum(sizes[one.place] for own in self.exits.values() for one in own if one.is_whole)
        return exits + sum(sizes[source.place] * len(source.owner.tasks) for source in self.sources)

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
    sources: list[Source] = []
    exits: dict[int, list[Exit]] = {}
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
                exits.setdefault(owner, []).append(Exit(user, position, place))
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
    is_stacked = any(not isinstance(graph.owner(node), int) for node in leading - behind)
    return Frontier(tuple(places), tuple(sources), exits, frozenset(behind), is_stacked)


def _is_read_by_heads(graph: Graph, node: Any) -> bool:
    return all(_source(graph, user, position, 0, is_turned=True) for user, position in graph.users[node])


def _source(graph: Graph, user: Any, position: int, place: int, *, is_turned: bool = False) -> Source | None:
    """An operation of which the gradients of the tasks can be told apart after the fact."""
    owner = graph.owner(user)
    if not isinstance(owner, ByRow):
        return None
    child, output = graph.inputs[user][position]
    inside, outside = shape_of(child, output), shape_of(user)
    name = user.name()
    if owner.axis >= len(outside) or outside[owner.axis] % owner.n_rows:
        return None
    if owner.axis == 1:  # heads side by side in one product of the features
        is_known = not is_turned and len(outside) == 2 and right_factor(user, position)
        return Source(user, place, owner, is_turned) if is_known else None
    is_copied = name == "ExpandBackward0" and inside == outside[1:]
    is_right_factor = name == "MmBackward0" and position == 1
    if not (is_right_factor or (is_copied and not is_turned)) or owner.axis:
        return None
    return Source(user, place, owner, is_turned)
