"""Per-task gradients of parameters that FSDP2 has sharded: one backward pass per task, rows kept as local shards.

``torch.autograd.grad`` cannot be asked for a sharded parameter, because the graph holds a gathered copy of it whose
gradient only an ordinary backward pass brings back to the shards. So every task makes one, and its ``.grad`` is read
and emptied. Products are taken shard by shard and summed over the ranks; rows never travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from taskloom.balance.flow import Need, Rows
from taskloom.engine._fsdp import (
    Shard,
    every_shard_synchronises,
    gathered_as,
    is_sharded,
    local_part,
    sharded_as,
    shards,
    with_local_part,
)
from taskloom.engine._graph import reached_by
from taskloom.engine.autograd import AutogradEngine, explained
from taskloom.engine.base import Cost, GradientEngine, Layout, ParameterRows, ranks
from taskloom.engine.features import FeatureEngine
from taskloom.errors import EngineError

__all__ = ["GatheredFeatureEngine", "ShardedEngine", "ShardedRows", "engine_for", "through_forks"]

_Form = Literal["auto", "weights", "gates", "carrier"]


class ShardedEngine:
    """Rows of the Jacobian for parameters sharded by ``torch.distributed.fsdp.fully_shard``.

        J_k = d l_k / d theta,    G = sum over ranks of J_local J_local^T

    :func:`taskloom.balance` takes it by itself when a shared parameter is a DTensor. Gradients of heads come out of the
    same passes, so that the ``backward()`` that follows goes through no network. Row rules, which need whole rows, are
    refused. Every rank needs a loss of every task (0 times an output where it has no label), because the passes
    communicate.

    Cost:
        K backward passes through the whole model, each with the communication of an ordinary one; memory for K times
        the local shards of the shared parameters and once those of the heads.

    Distributed:
        gradients are reduced by FSDP as in an ordinary backward pass (the mean over ranks), also where
        ``set_requires_gradient_sync(False)`` asks to wait: accumulation then adds up reduced gradients. Gramians are
        summed over the ranks, K^2 numbers. Checked with two CPU processes and torch 2.13.

    Example:
        >>> ShardedEngine().cost([torch.zeros(3, 2)], n_tasks=4)
        Cost(backward_passes=4, bytes=96)
    """

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> ShardedRows:
        """Task gradients J as local shards, shape (K, P_local) in blocks.

        Raises:
            EngineError: a rank lacks a task that another has, a DTensor is not FSDP's, or the graph was freed.
        """
        _same_tasks(losses)
        parameters = sharded_as(parameters)
        leaves = reached_by(loss for loss in losses if loss is not None).leaves
        known = {id(shard.gathered): shard for shard in shards()}
        used = [known[id(leaf)] for leaf in leaves if id(leaf) in known]
        targets = [known[id(leaf)].parameter if id(leaf) in known else leaf for leaf in leaves]
        _require_fsdp(targets, used)
        layout = ShardLayout(parameters)
        blocks = layout.empty(len(losses))
        places = {id(parameter): place for place, parameter in enumerate(parameters)}
        touched: set[int] = set()
        outside: list[tuple[Tensor, int, Tensor]] = []
        saved = [target.grad for target in targets]
        try:
            for k, loss in enumerate(losses):
                for target in targets:
                    target.grad = None
                if loss is not None:
                    with explained(), every_shard_synchronises(used):
                        loss.backward(retain_graph=True)
                gradients: list[Tensor | None] = [None] * len(parameters)
                for target in targets:
                    if (gradient := target.grad) is None:
                        continue
                    if (place := places.get(id(target))) is None:
                        outside.append((target, k, gradient))
                    else:
                        gradients[place] = local_part(gradient)
                        touched.add(place)
                layout.flatten(gradients, into=[block[k] for block in blocks])
        finally:
            for target, gradient in zip(targets, saved, strict=True):
                target.grad = gradient
        if ranks() > 1:  # FSDP has averaged what it has sharded
            for block, spread, group in zip(blocks, layout.spreads, layout.groups, strict=True):
                if spread is None:
                    torch.distributed.all_reduce(block)
                    block /= ranks()
                    touched.update(group)
        return ShardedRows(blocks, layout, tuple(targets), touched=frozenset(touched), outside=tuple(outside))

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T over all shards, shape (K, K), the same on all ranks; float64 for K <= 64."""
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """K backward passes and K copies of the local shards."""
        size = sum(part.numel() * part.element_size() for part in map(local_part, parameters))
        return Cost(backward_passes=n_tasks, bytes=n_tasks * size)


def engine_for(
    parameters: Sequence[Tensor], asked: GradientEngine | None = None, needs: Need = Need.NOTHING
) -> GradientEngine:
    """The engine that can measure gradients of these parameters, or the one that was asked for if it can.

    Raises:
        EngineError: parameters are sharded and the engine knows no shards, or single entries of rows are needed.
    """
    if not any(map(is_sharded, parameters)):
        return asked or AutogradEngine()
    if Need.ROWS in needs:
        raise EngineError(_NO_ROWS)
    if isinstance(asked, FeatureEngine):
        return GatheredFeatureEngine()
    if type(asked).__module__.startswith("taskloom.engine.") and not isinstance(asked, ShardedEngine):
        raise EngineError(
            f"{type(asked).__name__} cannot measure gradients of parameters that are sharded (FSDP); leave engine= "
            "out, or use DistributedDataParallel"
        )
    return asked or ShardedEngine()


class GatheredFeatureEngine(FeatureEngine):
    """Gradients at the cut of a model whose parameters are sharded: the features are not.

    The direction is found by the ordinary backward pass through the forks, which FSDP reduces.
    """

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Rows:
        """As :meth:`FeatureEngine.rows`.

        Raises:
            EngineError: a rank lacks a task that another has.
        """
        _same_tasks(losses)
        return super().rows(losses, parameters)


def through_forks(engine: GradientEngine, parameters: Sequence[Tensor], form: _Form) -> tuple[Sequence[Tensor], _Form]:
    """The parameters that lie in the graph, and the way to make the scalar, for features of a sharded model."""
    if not isinstance(engine, GatheredFeatureEngine):
        return parameters, form
    if form == "carrier":
        raise EngineError(
            "form='carrier': gradients at the features of a sharded model (FSDP) reach its shards by an ordinary "
            "backward pass only; use form='gates' or 'auto'"
        )
    return gathered_as(parameters), "gates" if form == "auto" else form


class ShardLayout(Layout):
    """Where the local part of each parameter lies in the columns: one block per device, dtype and way of sharding."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.whole = tuple(parameters)
        self.parameters = tuple(local_part(parameter) for parameter in parameters)
        groups: dict[Any, list[int]] = {}
        for place, (parameter, part) in enumerate(zip(self.whole, self.parameters, strict=True)):
            groups.setdefault((part.device, part.dtype, _spread(parameter)), []).append(place)
        self.groups = tuple(groups.values())
        self.spreads = tuple(spread for _, _, spread in groups)

    def gather(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """One vector per block as one tensor per parameter, spread over the ranks as the parameter is."""
        return [with_local_part(like, part) for like, part in zip(self.whole, self.split(blocks), strict=True)]


@dataclass(frozen=True)
class ShardedRows(ParameterRows):
    """The columns of the task gradients that this rank holds.

    Args:
        blocks: shape (K, P_b), the columns of local shards.
        layout: where each parameter lies in them.
        leaves: every parameter that the losses reach.
        touched: places of the parameters that any task reaches.
        outside: gradients of the other leaves: the leaf, position of the task, gradient of its loss.
    """

    layout: ShardLayout
    touched: frozenset[int] = frozenset()
    outside: tuple[tuple[Tensor, int, Tensor], ...] = field(default=(), repr=False)

    def gramian(self) -> Tensor:
        """J J^T over the shards of all ranks, shape (K, K)."""
        total = self.cross(self)
        return (total + total.T) / 2

    def cross(self, other: Rows) -> Tensor:
        """J J'^T over the shards of all ranks, shape (K, K)."""
        sums: dict[Any, Tensor] = {}
        for block, partner, spread in zip(self.blocks, other.blocks, self.layout.spreads, strict=True):
            part = Rows((block,)).cross(Rows((partner,)))
            sums[spread] = part if spread not in sums else sums[spread] + part.to(sums[spread])
        total: Tensor | None = None
        for spread, part in sums.items():
            whole = _summed(part, spread)
            total = whole if total is None else total + whole.to(total)
        assert total is not None
        return total

    def divided(self, factor: float) -> ShardedRows:
        """The rows of losses that are smaller by a factor."""
        outside = tuple((leaf, task, gradient / factor) for leaf, task, gradient in self.outside)
        return replace(self, blocks=tuple(block / factor for block in self.blocks), outside=outside)

    def gradients(self, weights: Tensor) -> list[Tensor | None]:
        """J^T w, one tensor per parameter, spread over the ranks as the parameter is; None where no task reaches."""
        whole = self.layout.gather(self.combine(weights))
        return [gradient if place in self.touched else None for place, gradient in enumerate(whole)]

    def of_heads(self, factors: Tensor) -> dict[int, Tensor]:
        """Gradient of ``(factors * losses).sum()`` of every leaf outside the layout, by its id."""
        found: dict[int, Tensor] = {}
        for leaf, task, gradient in self.outside:
            part = local_part(gradient)
            part = part * factors[task].to(part.device, part.dtype)
            before = found.get(id(leaf))
            found[id(leaf)] = part if before is None else before + part
        return {id(leaf): with_local_part(leaf, found[id(leaf)]) for leaf, _, _ in self.outside}

    def matrix(self) -> Tensor:
        """Refused: whole rows are on no rank."""
        raise EngineError(_NO_ROWS)


_NO_ROWS = (
    "this balancer looks at single entries of the task gradients, and the shared parameters are sharded (FSDP), so "
    "that no rank has them all; use a method that needs inner products only, such as pcgrad(), or "
    "DistributedDataParallel"
)


def _spread(parameter: Tensor) -> Any:
    """How a parameter is spread: its mesh and the dimensions of it that hold different parts."""
    if not is_sharded(parameter):
        return None
    spread: Any = parameter
    return spread.device_mesh, tuple(i for i, one in enumerate(spread.placements) if not one.is_replicate())


def _summed(part: Tensor, spread: Any) -> Tensor:
    """Sum over the ranks that hold different parts; the same on all of them."""
    if spread is None:
        return part
    mesh, dimensions = spread
    home = part.device
    part = part.to(mesh.device_type) if mesh.device_type != home.type else part
    for dimension in dimensions:
        torch.distributed.all_reduce(part, group=mesh.get_group(dimension))
    return part.to(home)


def _same_tasks(losses: Sequence[Tensor | None]) -> None:
    """Refuse, on all ranks, a step in which one of them lacks a task: its passes would wait for ever."""
    n_ranks = ranks()
    if n_ranks == 1:
        return
    device = next((loss.device for loss in losses if loss is not None), torch.device("cpu"))
    here = torch.tensor([float(loss is not None) for loss in losses], device=device)
    torch.distributed.all_reduce(here)
    lacking = [task for task, count in enumerate(here.tolist()) if 0 < count < n_ranks]
    if lacking:
        raise EngineError(
            f"the tasks number {lacking} are missing on some ranks, and the backward passes of sharded parameters need "
            "all of them; give those ranks a loss of zero made of the task's output, output.sum() * 0"
        )


def _require_fsdp(targets: Sequence[Tensor], used: Sequence[Shard]) -> None:
    """Refuse DTensors that nobody reduces the gradients of."""
    managed = {id(shard.parameter) for shard in used}
    foreign = [one for one in targets if is_sharded(one) and id(one) not in managed]
    if foreign:
        raise EngineError(
            f"{len(foreign)} parameters are DTensors that torch.distributed.fsdp.fully_shard does not manage, the "
            f"first of shape {tuple(foreign[0].shape)}; wrap the model with fully_shard"
        )
