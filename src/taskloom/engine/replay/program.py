"""The operations behind a frontier in the order in which gradients pass them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from taskloom.engine._passing import passing_order
from taskloom.engine.layers.frontier import Frontier
from taskloom.engine.layers.graph import Edge, Graph
from taskloom.engine.replay.operations import operation_at
from taskloom.engine.replay.site import Gradient, InPlace, Operation, Patch, site_of

__all__ = ["Program", "Take"]

Take = Callable[[Tensor], None]
"""What is done with the gradients (c, *shape) that arrive somewhere."""


class Program:
    """Propagates gradients from a frontier to where they are wanted.

    Args:
        graph: the graph of the losses.
        frontier: where gradients come in.
        targets: the operations whose gradient is wanted.
        dtype: precision.
    """

    def __init__(self, graph: Graph, frontier: Frontier, targets: Collection[Any], dtype: torch.dtype) -> None:
        self._graph, self._frontier, self._dtype = graph, frontier, dtype
        self._wanted = graph.leading_to(targets)
        self._order = passing_order(graph, frontier, self._wanted)
        self._operations: dict[Any, Operation] = {}

    def run(self, cotangents: Sequence[Tensor], take: Mapping[Any, Take], *, is_last: bool = True) -> None:
        """Propagate the gradients (c, *edge) of some tasks.

        Args:
            cotangents: one tensor per edge of the frontier.
            take: target -> what is done with its gradients; called in the order of the program.
            is_last: whether the maps may be let go on the way.
        """
        arrived = _Arrived()
        for edge, one in zip(self._frontier.edges, cotangents, strict=True):
            arrived.add(edge, one.to(self._dtype), is_free=False)
        for node in self._order:
            gradients = [arrived.pop((node, output)) for output in range(len(node._input_metadata) or 1)]
            if all(one is None for one in gradients):
                continue
            is_free = len(gradients) == 1 and node not in take and arrived.was_free
            if node in take:
                assert gradients[0] is not None
                take[node](gradients[0])
            following = self._graph.inputs[node]
            if not any(child in self._wanted for child, _ in following if child is not None):
                continue
            operation = self._operations.pop(node, None) or self._made(node)
            if not is_last:
                self._operations[node] = operation
            change = operation.overwrite if is_free and isinstance(operation, InPlace) else operation
            found = change(gradients)
            is_free = is_free and len(found) == 1
            for (child, output), gradient in zip(following, found, strict=False):
                if gradient is not None and child is not None and child in self._wanted:
                    arrived.add((child, output), gradient, is_free=is_free or _is_new(gradient, gradients))

    def _made(self, node: Any) -> Operation:
        following = self._graph.inputs[node]
        wanted = [child is not None and child in self._wanted for child, _ in following]
        return operation_at(site_of(node, following, wanted, self._dtype))


class _Arrived:
    """Gradients that have arrived at operations and wait for others."""

    def __init__(self) -> None:
        self._whole: dict[Edge, Tensor] = {}
        self._parts: dict[Edge, list[Patch]] = {}
        self._free: set[Edge] = set()
        self.was_free = False

    def add(self, edge: Edge, gradient: Gradient, *, is_free: bool) -> None:
        """Add a gradient; its memory is free if nobody else looks at it."""
        if isinstance(gradient, Patch):
            self._parts.setdefault(edge, []).append(gradient)
        elif gradient is not None:
            before = self._whole.get(edge)
            self._whole[edge] = gradient if before is None else before + gradient
            if is_free or before is not None:
                self._free.add(edge)

    def pop(self, edge: Edge) -> Tensor | None:
        """The gradient of an edge; ``was_free`` tells whether it may be written to."""
        whole, parts = self._whole.pop(edge, None), self._parts.pop(edge, None)
        self.was_free = edge in self._free and parts is None
        self._free.discard(edge)
        if parts is None:
            return whole
        node, output = edge
        together = _put_together(parts, tuple(node._input_metadata[output].shape))
        return together if whole is None else whole + together


def _is_new(gradient: Gradient, given: Sequence[Tensor | None]) -> bool:
    """Whether a gradient has memory of its own."""
    if not isinstance(gradient, Tensor):
        return False
    memory = gradient.untyped_storage().data_ptr()
    return all(one is None or one.untyped_storage().data_ptr() != memory for one in given)


def _put_together(parts: Sequence[Patch], shape: tuple[int, ...]) -> Tensor:
    """The gradient (c, *shape) that is zero outside some parts."""
    axis = len(parts[0].where) - 1
    entries = {part.entry: part.values for part in parts if len(part.where) == axis + 1}
    if len(parts) == shape[axis] and set(entries) == set(range(shape[axis])):  # every entry of an axis, each once
        return torch.stack([entries[place] for place in range(shape[axis])], axis + 1)
    values = parts[0].values
    whole = values.new_zeros(values.shape[0], *shape)
    for part in parts:
        whole[(slice(None), *part.where)] += part.values
    return whole
