"""One pass through the heads, of the sum of all losses: cotangents at the frontier, and the heads' own gradients.

Above the frontier every gradient belongs to one task, or every row of it does. The pass of the sum therefore carries
the gradients of all tasks; where they would be added up, at the frontier, each is taken from the operation that hands
it over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from taskloom.engine.layers.capture import right_factor, saved
from taskloom.engine.layers.cotangents import Cotangents, Share
from taskloom.engine.layers.frontier import Exit, Frontier, Source
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.taps import Taps

__all__ = ["HeadGradients", "through_heads"]

HeadGradients = dict[int, tuple[int, Tensor]]
"""Id of a leaf -> (the one task that reaches it, its gradient)."""


def through_heads(
    graph: Graph,
    losses: Sequence[Tensor | None],
    leaves: dict[int, list[Tensor]],
    frontier: Frontier,
    *,
    looks_for_rows: bool,
) -> tuple[Cotangents, HeadGradients]:
    """Go through the heads once in all.

    Args:
        graph: the graph of the losses.
        losses: one scalar per task, None for an absent task.
        leaves: leaves of heads, by the one task that reaches them.
        frontier: where heads end.
        looks_for_rows: whether gradients of few rows are to be kept without the others.

    Returns:
        the cotangents, and the gradients of the leaves.
    """
    cotangents = Cotangents(frontier.metadata())

    def add(task: int, place: int, share: Share) -> None:
        cotangents.add(task, place, share.reduced() if looks_for_rows else share)

    exits = [(task, one) for task, of_task in frontier.exits.items() for one in of_task]
    ends: list[tuple[Any, Callable[[Tensor], None]]] = [
        (source.node, _of_source(source, add)) for source in frontier.sources
    ]
    others: list[tuple[int, Exit]] = []
    for task, one in exits:
        factor = _factor(graph, one)
        if factor is None:
            others.append((task, one))
        else:
            ends.append((one.node, _of_product(task, one.place, factor, add)))
    own = [(task, leaf) for task, of_task in leaves.items() for leaf in of_task]
    edges = [frontier.edges[place] for place in sorted({one.place for _, one in others})]
    accumulators = [graph.accumulators[id(leaf)] for _, leaf in own]
    taps = Taps(graph, [node for node, _ in ends], [*accumulators, *(node for node, _ in edges)])
    with ExitStack() as opened:
        for task, one in others:
            opened.callback(one.node.register_hook(_hook(task, one, add)).remove)
        opened.enter_context(taps)
        inputs = [*frontier.targets(edges), *(leaf for _, leaf in own)]
        roots = [loss for loss in losses if loss is not None]
        found = taps.run(roots, inputs, None, lambda number, gradient: ends[number][1](gradient))
    heads = {
        id(leaf): (task, gradient)
        for (task, leaf), gradient in zip(own, found[len(edges) :], strict=True)
        if gradient is not None
    }
    return cotangents, heads


Add = Callable[[int, int, Share], None]


def _factor(graph: Graph, one: Exit) -> Tensor | None:
    """The other factor of a matrix product that reads the features, transposed; None for other operations."""
    if len(graph.owners_of(one.node)) != 1 or not isinstance(graph.owner(one.node), int):
        return None
    name = right_factor(one.node, one.position)
    return None if name is None else saved(one.node, name).T


def _of_product(task: int, place: int, factor: Tensor, add: Add) -> Callable[[Tensor], None]:
    return lambda gradient: add(task, place, Share(gradient, factor))


def _of_source(source: Source, add: Add) -> Callable[[Tensor], None]:
    def take(gradient: Tensor) -> None:
        for task, share in _shares(source, gradient):
            add(task, source.place, share)

    return take


def _shares(source: Source, gradient: Tensor) -> Iterator[tuple[int, Share]]:
    """What an operation that works for all tasks at once hands over for each."""
    name, axis = source.node.name(), source.owner.axis
    slices = source.owner.slices(gradient.shape[axis])
    if axis:
        factor = saved(source.node, "mat2").T
        yield from ((task, Share(gradient[:, columns], factor[columns])) for task, columns in slices)
    elif name == "MmBackward0":
        left = saved(source.node, "self")
        for task, rows in slices:
            own = gradient[rows]
            yield task, Share(own.T, left[rows]) if source.is_turned else Share(left[rows].T @ own)
    else:
        for task, rows in slices:
            own = gradient[rows]
            yield task, Share(own[0] if own.shape[0] == 1 else own.sum(0))


def _hook(task: int, one: Exit, add: Add) -> Callable[[Sequence[Tensor | None], Any], None]:
    def hook(handed: Sequence[Tensor | None], given: Any) -> None:
        gradient = handed[one.position]
        if gradient is not None:
            add(task, one.place, Share(gradient.to_dense() if gradient.is_sparse else gradient))

    return hook
