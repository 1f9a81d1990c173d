"""The forms of the scalar that :func:`taskloom.balance` returns, once weights and gradients are known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

from taskloom.balance.flow import Combination, Rows
from taskloom.engine._carrier import carry
from taskloom.engine._fsdp import is_sharded, sharded_as
from taskloom.engine._graph import reached_by
from taskloom.engine._step import StepLosses
from taskloom.engine.autograd import gradients_of
from taskloom.engine.base import Layout, ParameterRows, ranks
from taskloom.errors import EngineError

__all__ = ["Form", "carried", "gated", "overflow"]

Form = Literal["auto", "weights", "gates", "carrier"]


def gated(step: StepLosses, combination: Combination, factors: Tensor) -> Tensor:
    """Set the gates so that the shared part sees w and the heads their factors."""
    gates = {gate.task: gate for gate in reached_by([v for v in step.local if v is not None]).gates}
    unknown = [task for task in step.tasks if task not in gates]
    if unknown:
        raise EngineError(f"form='gates': no fork for the tasks {unknown}; forks carry the names {sorted(gates)}")
    # A head factor of 0 belongs to an absent task, whose gradient is 0 anyway.
    ratios = combination.weights.detach() / torch.where(factors == 0, 1.0, factors)
    for task, ratio in zip(step.tasks, ratios.unbind(), strict=True):
        gates[task].weight = ratio
    return (factors * step.stacked()).sum()


def carried(
    step: StepLosses,
    combination: Combination,
    factors: Tensor,
    rows: Rows | None,
    parameters: Sequence[Tensor],
    scale: float,
) -> Tensor:
    """Finish every gradient now and hand it out in the backward pass."""
    known = rows if isinstance(rows, ParameterRows) else None  # an engine that knows parameters, not only columns
    leaves = known.leaves if known is not None else None
    if leaves is None:
        leaves = reached_by(loss for loss in step.local if loss is not None).leaves
    reached = {id(leaf) for leaf in leaves}
    used = [parameter for parameter in parameters if id(parameter) in reached]
    counts = _ranks_that_reach(parameters, reached, step.losses.device)
    if not any(counts):
        raise EngineError(
            f"no loss of the tasks {list(step.tasks)} reaches a shared parameter; pass the parameters that the "
            "forward pass used (not those of a copy), and compute the losses from their output"
        )
    stacked = step.stacked()
    given = combination.direction
    if rows is None:  # weights from losses alone but heads unweighted: one pass for the shared part
        found = _gradients((combination.weights.detach() * stacked).sum(), used, scale)
    else:
        finished: Sequence[Tensor | None]
        if known is not None and given is None:
            finished = known.gradients(combination.weights)
        else:
            blocks = rows.combine(combination.weights) if given is None else rows.split(given)
            finished = Layout(parameters).split(blocks)
        found = dict(zip(map(id, parameters), finished, strict=True))
        for parameter, count in zip(parameters, counts, strict=True):
            gradient = found[id(parameter)]
            if gradient is not None and 0 < count < ranks() and not is_sharded(parameter):
                # the mean over ranks, which the ranks that do not reach it add nothing to, is taken once more
                found[id(parameter)] = gradient * (ranks() / count)
    shared_ids = {id(parameter) for parameter in parameters}
    others = [leaf for leaf in leaves if id(leaf) not in shared_ids]
    total = (factors * stacked).sum()
    if known is not None:
        found.update(known.of_heads(factors))
    missing = [leaf for leaf in others if id(leaf) not in found]
    if missing:
        found.update(_gradients(total, missing, scale))
    # Parameters that nothing reaches keep `.grad` as it is, as after an ordinary backward pass. They are targets all
    # the same: DistributedDataParallel waits for a sign of each that reached an output of the forward pass.
    targets = [*used, *others]
    return carry(total, targets, [found[id(target)] for target in targets])


def _gradients(loss: Tensor, leaves: Sequence[Tensor], scale: float) -> dict[int, Tensor | None]:
    """Gradients by the id of the leaf, taken of the scaled loss so that they do not underflow on the way."""
    if scale == 1:
        return dict(zip(map(id, leaves), gradients_of(loss, leaves), strict=True))
    found = gradients_of(loss * scale, leaves)
    return {id(leaf): None if one is None else one / scale for leaf, one in zip(leaves, found, strict=True)}


def _ranks_that_reach(parameters: Sequence[Tensor], reached: Collection[int], device: torch.device) -> list[int]:
    """How many ranks have a loss that reaches each parameter."""
    here = [float(id(parameter) in reached) for parameter in parameters]
    if ranks() > 1:
        counts = torch.tensor(here, device=device)
        torch.distributed.all_reduce(counts)
        here = counts.tolist()
    return [round(count) for count in here]


def overflow(step: StepLosses) -> Tensor:
    """A scalar with infinite gradients: the scaler finds them, leaves the step out and lowers its factor."""
    targets = sharded_as(reached_by(loss for loss in step.local if loss is not None).leaves)
    return carry(step.losses.detach().sum(), targets, [torch.full_like(target, torch.inf) for target in targets])
