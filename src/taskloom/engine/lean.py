"""Exact inner products in less memory: the shared part is gone through in pieces, and what a piece needs is freed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from taskloom.engine._deferred import DeferredRows
from taskloom.engine._heads import BehindHeads, go_behind_heads
from taskloom.engine._passing import Piece, pieces_of
from taskloom.engine.autograd import explained
from taskloom.engine.base import Cost, ParameterRows, ranks
from taskloom.engine.layers.costs import of_layer, of_remaining
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.frontier import Frontier, find_frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.plan import rule_of
from taskloom.engine.layers.pool import Pool
from taskloom.engine.layers.products import own_precision, wide
from taskloom.engine.layers.proofs import Layer, find_layers
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.replay.parts import exact_part

__all__ = ["LeanEngine"]


class LeanEngine:
    """Exact inner products with the memory of one piece of the network, and the direction from one more pass.

    :class:`taskloom.engine.LayerEngine` keeps what every layer needs for the direction until the weights are known, at
    most K gradients of all shared parameters. Here the shared part is cut where all gradients pass through one tensor
    (between the blocks of a residual network, the layers of a chain). All tasks go through one piece, its share of the
    inner products is added, and its gradients are freed before the next piece. The direction comes from one ordinary
    backward pass of the weighted sum.

        G = sum over pieces of J_p J_p^T,    d = J^T w(G)

    Where that is not estimated to save a quarter of the memory (few parameters, large maps, a network that is nowhere a
    single tensor) or is more work (rows with labels of few tasks) the step is measured by
    :class:`taskloom.engine.LayerEngine`.

    Attributes:
        n_pieces: pieces of the last step; 1 where it was measured as a whole.

    Cost:
        K propagations and one ordinary backward pass; memory for K gradients of the largest piece, and K gradients of
        the tensors at its ends.

    Distributed:
        with a process group it hands over to one backward pass per task, whose rows can be averaged.

    Example:
        >>> import taskloom as tl
        >>> encoder = torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(4)])
        >>> z = encoder(torch.randn(8, 64))
        >>> losses = {"a": z[:, 0].square().mean(), "b": (z[:, 0] - 1).square().mean()}
        >>> engine = LeanEngine()
        >>> loss = tl.balance(losses, tl.pcgrad(), shared=encoder, engine=engine)
        >>> loss.backward()
        >>> engine.n_pieces
        4
    """

    def __init__(self) -> None:
        self.n_pieces = 1
        self._whole = LayerEngine()

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> ParameterRows:
        """Inner products of task gradients, and the direction once weights are known.

        Raises:
            EngineError: the graph of the losses was freed, or a tensor that it needs was changed in place.
        """
        self.n_pieces = 1
        if ranks() == 1:
            with explained(), torch.no_grad(), own_precision(parameters[0].device):
                graph = Graph(losses)
                plan = _plan(graph, parameters)
                behind = None if plan is None else _behind_heads(plan, graph, losses, parameters)
                if plan is not None and behind is not None:
                    self.n_pieces = len(plan.shares)
                    return _measured(plan, behind)
        return self._whole.rows(losses, parameters)

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T, shape (K, K), float64."""
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """K passes and one more; the pieces are not known before a step, so memory as if there were one."""
        whole = self._whole.cost(parameters, n_tasks)
        return Cost(backward_passes=whole.backward_passes + 1, bytes=whole.bytes)


_WORTH_IT = 0.75
"""Share of the memory of the whole below which going through pieces, and once more for the direction, is worth it."""


@dataclass(frozen=True)
class _Share:
    """One piece, the parameters whose gradients arrive in it, and the bytes that their inner products need."""

    piece: Piece
    layers: tuple[Layer, ...]
    remaining: tuple[Tensor, ...]
    bytes: int

    def joined(self, following: _Share) -> _Share:
        """This share and the one behind it as one."""
        return _Share(
            self.piece.joined(following.piece),
            self.layers + following.layers,
            self.remaining + following.remaining,
            self.bytes + following.bytes,
        )

    def held(self, n_tasks: int) -> int:
        """Bytes held while its gradients are measured, those at its ends among them."""
        ends = [*self.piece.entries, *([] if self.piece.exit is None else [self.piece.exit])]
        found = [node._input_metadata[output] for node, output in ends]
        return self.bytes + n_tasks * sum(int(math.prod(one.shape)) * int(one.dtype.itemsize) for one in found)


@dataclass(frozen=True)
class _Plan:
    frontier: Frontier
    targets: tuple[Any, ...]
    shares: tuple[_Share, ...]


def _plan(graph: Graph, parameters: Sequence[Tensor]) -> _Plan | None:
    """The pieces of a step; None where they do not need less memory than the whole."""
    layers, rest = find_layers(graph, parameters)
    if any("has a hook" in one.reason for one in rest):  # it may do with a sum what it does not do with its terms
        return None
    # one by one, autograd's own weight gradient of a convolution is as good
    moved = [place for layer in layers if layer.kind == "convolution" for place in layer.places]
    remaining = [parameters[place] for place in [*(one.place for one in rest), *moved]]
    layers = [layer for layer in layers if layer.kind != "convolution"]
    ends = {graph.accumulators[id(one)]: one for one in remaining}
    targets = [*(call.node for layer in layers for call in layer.calls), *ends]
    frontier = find_frontier(graph, targets)
    if frontier is None or "BackwardHookFunctionBackward" in frontier.names():
        return None  # full backward hooks of a module want to see one pass after the other
    n_tasks = len(graph.roots)
    shares = []
    for piece in _cut(pieces_of(graph, frontier, graph.leading_to(targets)), layers):
        own = tuple(layer for layer in layers if layer.calls[0].node in piece.nodes)
        tensors = tuple(one for node, one in ends.items() if node in piece.nodes)
        shares.append(_Share(piece, own, tensors, _bytes(own, tensors, n_tasks)))
    largest = max(share.held(n_tasks) for share in shares)
    if largest >= _WORTH_IT * sum(share.bytes for share in shares):
        return None
    return _Plan(frontier, tuple(targets), tuple(_merged(shares, largest, n_tasks)))


def _merged(shares: Sequence[_Share], largest: int, n_tasks: int) -> list[_Share]:
    """Neighbouring shares as one as long as that does not hold more than so many bytes: fewer passes are begun."""
    found = [shares[0]]
    for share in shares[1:]:
        together = found[-1].joined(share)
        if together.held(n_tasks) <= largest:
            found[-1] = together
        else:
            found.append(share)
    return found


def _cut(pieces: Sequence[Piece], layers: Sequence[Layer]) -> list[Piece]:
    """Pieces joined so that all calls of a layer lie in one."""
    place_of = {node: place for place, piece in enumerate(pieces) for node in piece.nodes}
    last = list(range(len(pieces)))
    for layer in layers:
        places = [place_of[call.node] for call in layer.calls]
        for place in range(min(places), max(places)):
            last[place] = max(last[place], max(places))
    found: list[Piece] = []
    until = -1
    for place, piece in enumerate(pieces):
        if place <= until:
            found[-1] = found[-1].joined(piece)
        else:
            found.append(piece)
        until = max(until, last[place])
    return found


def _bytes(layers: Sequence[Layer], remaining: Sequence[Tensor], n_tasks: int) -> int:
    rules = [rule_of(layer, n_tasks, "auto", by_row=False) for layer in layers]
    found = [of_layer(one, rule, n_tasks, by_row=False) for one, rule in zip(layers, rules, strict=True)]
    return sum(one.bytes for one in [*found, *(of_remaining(tensor, n_tasks) for tensor in remaining)])


def _behind_heads(
    plan: _Plan, graph: Graph, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]
) -> BehindHeads | None:
    lease = Pool().lease()  # nothing is kept for the next step
    return go_behind_heads(graph, losses, parameters, frontier=plan.frontier, targets=plan.targets, lease=lease)


def _measured(plan: _Plan, behind: BehindHeads) -> DeferredRows:
    n_tasks, device = len(behind.tasks), behind.parameters[0].device
    total = torch.zeros(n_tasks, n_tasks, dtype=wide(device), device=device)
    leaving: list[Tensor] = []
    for share in plan.shares:
        leaving = _through(share, leaving or behind, n_tasks, total)
    return behind.rows(behind.of_all(total), behind.direction, LeanEngine.__name__)


def _through(share: _Share, entering: Sequence[Tensor] | BehindHeads, n_tasks: int, total: Tensor) -> list[Tensor]:
    """Take all tasks through a piece and add its share of the inner products.

    Args:
        share: the piece.
        entering: what enters it, task by task; the first piece is entered from the heads.
        n_tasks: number of tasks.
        total: inner products so far.

    Returns:
        what leaves it, task by task.
    """
    lease = Pool().lease()  # a piece has its own, so that nothing is kept for the next step
    parts = [exact_part(layer, n_tasks, lease) for layer in share.layers]
    rest = RemainingRows(share.remaining, n_tasks, lease)
    calls = [(part, place, call.node) for part in parts for place, call in enumerate(part.layer.calls)]
    roots = [GradientEdge(node, output) for node, output in share.piece.entries]
    inputs: list[Any] = [*(GradientEdge(node, 0) for *_, node in calls), *share.remaining]
    leaving: list[Tensor] = []
    with _Leaving(share.piece) as left:
        for task in range(n_tasks):
            if isinstance(entering, BehindHeads):
                cotangents = [one[0].clone() for one in entering.of_tasks(slice(task, task + 1))]
            else:
                cotangents = [entering[task]]
            asked = [*inputs, *left.asked]
            found = torch.autograd.grad(roots, asked, cotangents, retain_graph=True, allow_unused=True)
            for (part, place, _), gradient in zip(calls, found, strict=False):
                if gradient is not None:
                    part.take(place, task, gradient.unsqueeze(0))
            rest.take(task, found[len(calls) : len(inputs)])
            leaving.extend(left.gone())
    for part in parts:
        part.finish()
        total += part.gramian().to(total.device)
    rest.finish()
    found_rest = rest.gramian()
    if found_rest is not None:
        total += found_rest.to(total.device)
    return leaving


class _Leaving:
    """Takes what the operations of a piece hand to its exit.

    Autograd would return it after the hooks of the tensor there, which are called once more when it enters the next
    piece.
    """

    def __init__(self, piece: Piece) -> None:
        self.asked = [] if piece.exit is None else [GradientEdge(*piece.exit)]
        self._givers = [
            (node, position)
            for node in piece.nodes
            for position, edge in enumerate(node.next_functions)
            if edge == piece.exit
        ]
        self._sum: Tensor | None = None
        self._hooks = ExitStack()

    def __enter__(self) -> _Leaving:
        for node, position in self._givers:
            self._hooks.callback(node.register_hook(self._taking(position)).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    def _taking(self, position: int) -> Callable[[Sequence[Tensor | None], Any], None]:
        def take(handed: Sequence[Tensor | None], given: Any) -> None:
            gradient = handed[position]
            if gradient is not None:
                self._sum = gradient if self._sum is None else self._sum + gradient

        return take

    def gone(self) -> list[Tensor]:
        """What has left in the last pass."""
        found, self._sum = self._sum, None
        return [] if found is None else [found]
