"""Gradients of the results of operations, handed over while a pass is under way.

Autograd returns the gradients that it was asked for together, when the pass is over; those of all layers of a network
take as much memory as its activations, and are cold by then. A tap is a hook on an operation for the time of a few
passes: it is handed what the operation itself is handed, after every hook on the tensor, and nobody keeps it. Only
where a pass ends, at operations behind which nothing is wanted, autograd is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from taskloom.engine.layers.graph import Graph

__all__ = ["Sink", "Taps"]

Sink = Callable[[int, Tensor], None]
"""Is handed the number of an operation and the gradient of its result."""


class Taps:
    """Taps on some operations; open them (``with``) around the passes.

    Args:
        graph: the graph of the losses.
        nodes: operations, of which the first result is meant.
        others: what the passes ask for besides.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> y = x * 2
        >>> graph, found = Graph([loss := (y * 3).sum()]), {}
        >>> with Taps(graph, [y.grad_fn]) as taps, torch.no_grad():
        ...     taps.run([loss], [], None, found.__setitem__)
        []
        >>> found
        {0: tensor([3., 3.])}
    """

    def __init__(self, graph: Graph, nodes: Sequence[Any], others: Iterable[Any] = ()) -> None:
        wanted = graph.leading_to([*nodes, *others])
        self._passed: list[tuple[int, Any]] = []
        self._last: list[int] = []
        for number, node in enumerate(nodes):
            if any(child in wanted for child, _ in graph.inputs[node]):
                self._passed.append((number, node))
            else:
                self._last.append(number)
        self._edges = [GradientEdge(nodes[number], 0) for number in self._last]
        self._sink: Sink | None = None
        self._hooks = ExitStack()

    def __enter__(self) -> Taps:
        for number, node in self._passed:
            self._hooks.callback(node.register_prehook(self._tap(number)).remove)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hooks.close()

    def _tap(self, number: int) -> Callable[[Sequence[Tensor | None]], None]:
        def tap(gradients: Sequence[Tensor | None]) -> None:
            if self._sink is not None and gradients[0] is not None:
                self._sink(number, gradients[0])

        return tap

    def run(
        self, roots: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Tensor] | None, sink: Sink
    ) -> list[Tensor | None]:
        """One pass from the sum of the roots; the graph is kept.

        Args:
            roots: tensors or edges.
            inputs: what else the gradients of are wanted.
            cotangents: gradients of the roots; None for scalars.
            sink: what the gradients at the taps are handed to, in the order of the pass.

        Returns:
            gradients of ``inputs``.
        """
        asked = [*self._edges, *inputs]
        if not asked:
            return []
        self._sink = sink
        try:
            found = torch.autograd.grad(roots, asked, cotangents, retain_graph=True, allow_unused=True)
        finally:
            self._sink = None
        for number, gradient in zip(self._last, found, strict=False):
            if gradient is not None:
                sink(number, gradient)
        return [*found[len(self._last) :]]

    def run_together(
        self, roots: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Tensor]
    ) -> tuple[list[Tensor | None], list[tuple[int, Tensor]]]:
        """One pass for several cotangents (c, ...) of each root.

        Returns:
            gradients (c, ...) of ``inputs``, and those at the taps with the numbers of their operations.

        Raises:
            RuntimeError, NotImplementedError, ValueError: the graph cannot be passed for several at a time.
        """
        numbers: list[int] = []
        places: list[int] = []

        def single(*one: Tensor) -> tuple[Tensor, ...]:
            arrived: list[Tensor] = []

            def keep(number: int, gradient: Tensor) -> None:
                numbers.append(number)
                arrived.append(gradient)

            for place, gradient in enumerate(self.run(roots, inputs, one, keep)):
                if gradient is not None:
                    places.append(place)
                    arrived.append(gradient)
            return tuple(arrived) or one[:1]

        found = torch.vmap(single, randomness="same")(*cotangents)
        result: list[Tensor | None] = [None] * len(inputs)
        for place, gradient in zip(places, found[len(numbers) :], strict=False):
            result[place] = gradient
        return result, list(zip(numbers, found, strict=False))
