"""The order in which gradients pass the operations behind a frontier, and where they all pass through one edge."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from taskloom.engine.layers.frontier import Frontier
from taskloom.engine.layers.graph import Edge, Graph

__all__ = ["Piece", "passing_order", "pieces_of"]


@dataclass(frozen=True)
class Piece:
    """Operations that gradients enter and leave together.

    Args:
        nodes: the operations.
        entries: the edges through which gradients come in.
        exit: the one edge through which they go on; None behind the last piece.
    """

    nodes: frozenset[Any]
    entries: tuple[Edge, ...]
    exit: Edge | None

    def joined(self, following: Piece) -> Piece:
        """This piece and the one behind it as one."""
        return Piece(self.nodes | following.nodes, self.entries, following.exit)


def passing_order(graph: Graph, frontier: Frontier, wanted: Collection[Any]) -> list[Any]:
    """The wanted operations behind a frontier, each after all that use its result; short branches first."""
    inputs = graph.inputs
    reached: set[Any] = set()
    waiting = [node for node, _ in frontier.edges if node in wanted]
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting.extend(child for child, _ in inputs[node] if child is not None and child in wanted)
    missing = dict.fromkeys(reached, 0)
    for node in reached:
        for child, _ in inputs[node]:
            if child in missing:
                missing[child] += 1
    height = _heights(graph, reached, missing)
    ready = [(height[node], number, node) for number, (node, count) in enumerate(missing.items()) if not count]
    heapq.heapify(ready)
    number, order = len(missing), []
    while ready:
        node = heapq.heappop(ready)[2]
        order.append(node)
        for child, _ in inputs[node]:
            if child in missing:
                missing[child] -= 1
                if not missing[child]:
                    number += 1
                    heapq.heappush(ready, (height[child], number, child))
    return order


def _heights(graph: Graph, reached: Collection[Any], counts: dict[Any, int]) -> dict[Any, int]:
    """Longest way from each operation to an end."""
    missing, order = dict(counts), []
    ready = [node for node, count in missing.items() if not count]
    while ready:
        node = ready.pop()
        order.append(node)
        for child, _ in graph.inputs[node]:
            if child in missing:
                missing[child] -= 1
                if not missing[child]:
                    ready.append(child)
    height: dict[Any, int] = {}
    for node in reversed(order):
        height[node] = 1 + max((height[child] for child, _ in graph.inputs[node] if child in reached), default=0)
    return height


def pieces_of(graph: Graph, frontier: Frontier, wanted: Collection[Any]) -> list[Piece]:
    """The operations behind a frontier, cut wherever all gradients pass through one edge."""
    order = passing_order(graph, frontier, wanted)
    members = set(order)
    pending = {edge for edge in frontier.edges if edge[0] in members}
    entries, nodes = tuple(edge for edge in frontier.edges if edge[0] in members), []
    found = []
    for node in order:
        nodes.append(node)
        pending = {edge for edge in pending if edge[0] is not node}
        pending.update(edge for edge in graph.inputs[node] if edge[0] in members)
        if len(pending) == 1:
            (edge,) = pending
            found.append(Piece(frozenset(nodes), entries, edge))
            entries, nodes = (edge,), []
    found.append(Piece(frozenset(nodes), entries, None))
    return found
