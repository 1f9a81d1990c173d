"""Task gradients at the cut: with respect to the features that all tasks read, not to the parameters behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from taskloom.balance.flow import Rows
from taskloom.engine._graph import reached_by
from taskloom.engine._guards import measuring
from taskloom.engine.base import Cost, Layout, ranks
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.products import gramian_of
from taskloom.errors import NoCommonFeature

__all__ = ["FeatureEngine"]


class FeatureEngine:
    """Gradients of the task losses with respect to the common features Z, one flat row per task.

        z_k = d l_k / d Z,    G_Z = z z^T,    d = (dZ/dtheta)^T (sum_k w_k z_k)

    Not the gradients of the parameters: dZ/dtheta is dropped from the products, which then bound those of the
    parameters (MGDA-UB). The direction is exact for the weights that were found.

    The forward pass has to run inside :func:`taskloom.nn.fork.gates`, with a model that has a cut; the forks mark Z.

    Cost:
        one backward pass through the shared part, whatever the number of tasks, and one through the heads (K where
        heads read each other); memory for K times the features.

    Distributed:
        every rank has features of its own samples: the Gramians of the ranks are added, the direction is averaged.

    Raises:
        NoCommonFeature: a loss passes no fork, a shared parameter is reached beside it, or the tasks read different
            features (several data sets).

    Example:
        >>> from taskloom.nn.fork import fork, gates
        >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> with gates():
        ...     z = 3 * theta
        ...     losses = [fork(z, "a").sum(), fork(z, "b")[0] ** 2]
        >>> rows = FeatureEngine().rows(losses, [theta])
        >>> rows.matrix(), rows.combine(torch.ones(2))
        (tensor([[1., 1.],
                [6., 0.]]), (tensor([21.,  3.]),))
    """

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Rows:
        """Feature gradients (K, numbers in Z) that turn into parameter gradients when they are combined."""
        forks = _forks_of(losses, {id(parameter) for parameter in parameters})
        nodes = list(dict.fromkeys(node for own in forks for node in own))
        features = list(dict.fromkeys(map(_features_of, nodes)))
        by_task: dict[str, set[Any]] = {}
        for node in nodes:
            by_task.setdefault(node.gate.task, set()).add(_features_of(node))
        if any(read != set(features) for read in by_task.values()):
            raise NoCommonFeature(
                "the tasks read different features, because each has inputs of its own; feature gradients can only be "
                "compared where all tasks see the same samples. Use gradients of the parameters"
            )
        places = [features.index(_features_of(node)) for node in nodes]
        pieces: list[list[Tensor | None]] = [[None] * len(losses) for _ in features]
        for task, found in _gradients(losses, forks, nodes):
            for place, gradient in zip(places, found, strict=True):
                if gradient is not None:
                    before = pieces[place][task]
                    pieces[place][task] = gradient if before is None else before + gradient
        shapes, blocks = [], []
        for piece in pieces:
            like = next(one for one in piece if one is not None)
            shapes.append(like.shape)
            blocks.append(torch.stack([(torch.zeros_like(like) if one is None else one).reshape(-1) for one in piece]))
        return _FeatureRows(tuple(blocks), tuple(features), tuple(shapes), tuple(parameters))

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G_Z, shape (K, K)."""
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """No more passes through the shared part than an ordinary step; the features are not known before a step."""
        return Cost(backward_passes=1, bytes=0)


def _forks_of(losses: Sequence[Tensor | None], shared: set[int]) -> list[list[Any]]:
    """The forks that each loss reaches; shared parameters must lie behind them."""
    forks = []
    for loss in losses:
        reached = reached_by([] if loss is None else [loss], stop_at_forks=True)
        if loss is not None and (not reached.forks or any(id(leaf) in shared for leaf in reached.leaves)):
            raise NoCommonFeature(
                "a loss reaches shared parameters without passing a fork, so there are no common features; use a "
                "model with a cut (model.has_cut) and run its forward pass inside taskloom.nn.fork.gates()"
            )
        forks.append(list(reached.forks))
    return forks


def _gradients(
    losses: Sequence[Tensor | None], forks: Sequence[Sequence[Any]], nodes: Sequence[Any]
) -> Iterator[tuple[int, Sequence[Tensor | None]]]:
    """For each loss its gradients behind the forks ``nodes``, None for 0.

    Where every fork passes gradients of one task only, one pass through the heads serves all. Losses that were computed
    together (stacked) reach all forks, which does not mean that they do so with a gradient other than zero: the graph
    tells. Heads that read each other do, and take a pass each.
    """
    edges = [GradientEdge(node, 0) for node in nodes]
    there = {task: loss for task, loss in enumerate(losses) if loss is not None}
    with measuring():
        owners = _owners(losses, forks, nodes)
        if owners is not None:
            total = torch.stack(list(there.values())).sum()
            found = torch.autograd.grad(total, edges, retain_graph=True, allow_unused=True)
            for task in there:
                yield task, [one if owner == task else None for one, owner in zip(found, owners, strict=True)]
            return
        for task, loss in there.items():
            yield task, torch.autograd.grad(loss, edges, retain_graph=True, allow_unused=True)


def _owners(losses: Sequence[Tensor | None], forks: Sequence[Sequence[Any]], nodes: Sequence[Any]) -> list[int] | None:
    """The one task whose gradient passes each fork; None if there are several somewhere."""
    if sum(map(len, forks)) == len(nodes):  # nobody reaches the fork of another task
        tasks = {node: task for task, own in enumerate(forks) for node in own}
        return [tasks[node] for node in nodes]
    graph = Graph(losses)
    owners = [graph.owner(node) for node in nodes]
    known = [owner for owner in owners if isinstance(owner, int) and owner >= 0]
    return known if len(known) == len(owners) else None


def _features_of(fork: Any) -> tuple[Any, int]:
    """The node that made the features of a fork, and which of its outputs they are."""
    node, place = fork.next_functions[0]
    return node, place


@dataclass(frozen=True)
class _FeatureRows(Rows):
    """Rows at the features; what combines them goes on through the shared part of the network.

    Features can be in half precision, so that rows of scaled losses stay scaled (``scale``) until they have passed it.
    """

    edges: tuple[tuple[Any, int], ...] = field(repr=False)
    shapes: tuple[torch.Size, ...]
    parameters: tuple[Tensor, ...] = field(repr=False)
    scale: float = 1.0

    def divided(self, factor: float) -> _FeatureRows:
        """The rows of losses that are smaller by a factor."""
        return replace(self, scale=self.scale * factor)

    def gramian(self) -> Tensor:
        """G_Z over the samples of all ranks."""
        own = gramian_of(self.blocks)
        assert own is not None
        own /= self.scale**2
        n_ranks = ranks()
        if n_ranks > 1:  # a loss is the mean over ranks
            torch.distributed.all_reduce(own)
            own /= n_ranks**2
        return own

    def combine(self, weights: Tensor) -> tuple[Tensor, ...]:
        """Gradient of the shared parameters for weights (K,), one flat piece per device and dtype."""
        return self._through(super().combine(weights))

    def matrix(self) -> Tensor:
        """The rows as one matrix (K, numbers in Z)."""
        return super().matrix() if self.scale == 1 else super().matrix().float() / self.scale

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """The same for a direction at the features, (numbers in Z,)."""
        return self._through(super().split(vector * self.scale))

    def _through(self, pieces: Sequence[Tensor]) -> tuple[Tensor, ...]:
        cotangents = [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]
        roots = [GradientEdge(node, place) for node, place in self.edges]
        with measuring():
            found = torch.autograd.grad(
                roots, self.parameters, grad_outputs=cotangents, retain_graph=True, allow_unused=True
            )
        blocks = Layout(self.parameters).flatten(found)
        for block in blocks if self.scale != 1 else ():
            block /= self.scale
        n_ranks = ranks()
        for block in blocks if n_ranks > 1 else ():
            torch.distributed.all_reduce(block)
            block /= n_ranks
        return blocks
