"""Parameters that FSDP2 (``torch.distributed.fsdp.fully_shard``) has sharded, and where they are in a graph.

Between a forward and a backward pass a sharded parameter is in the graph as another tensor, the gathered one, whose
``.grad`` FSDP empties into the shard's. Which belongs to which is known to FSDP alone and has no public name, so this
file reads it from FSDP's own state; it is the only one that does. Nothing here is imported before somebody shards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from taskloom.errors import EngineError

__all__ = [
    "Shard",
    "every_shard_synchronises",
    "gathered_as",
    "is_sharded",
    "local_part",
    "sharded_as",
    "shards",
    "with_local_part",
]


@dataclass(frozen=True, eq=False)
class Shard:
    """One parameter that FSDP manages.

    Args:
        name: its name below the module that was wrapped last, if FSDP has noted one.
        parameter: what the optimiser holds, a DTensor.
        gathered: what the graph holds.
        managed: what FSDP keeps for this parameter.
        group: FSDP's group of parameters that travel together.
        state: what FSDP keeps for the whole model.
    """

    name: str | None
    parameter: Tensor
    gathered: Tensor
    managed: Any
    group: Any
    state: Any


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor; none can be if nobody has loaded them."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_part(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, without a graph."""
    spread: Any = tensor.detach()
    local: Tensor = spread.to_local() if is_sharded(tensor) else spread
    return local


def with_local_part(like: Tensor, local: Tensor) -> Tensor:
    """A tensor spread over ranks as another one, of which this rank holds ``local``."""
    if not is_sharded(like):
        return local
    spread: Any = like
    made: Tensor = type(spread.detach()).from_local(
        local, spread.device_mesh, spread.placements, run_check=False, shape=spread.shape, stride=spread.stride()
    )
    return made


def shards() -> list[Shard]:
    """Every parameter that FSDP manages in this process and that a forward pass has gathered."""
    registry = sys.modules.get("torch.distributed._composable_state")
    if registry is None or "torch.distributed.fsdp" not in sys.modules:
        return []
    try:
        found = []
        states = {id(state): state for one in list(registry._module_state_mapping.values()) if (state := _state(one))}
        for state in states.values():
            for group in _groups(state):
                for one in group.fsdp_params:
                    gathered = getattr(one, "_unsharded_param", None)
                    if gathered is not None:
                        found.append(Shard(one._param_fqn, one.sharded_param, gathered, one, group, state._state_ctx))
    except AttributeError as error:
        raise EngineError(
            f"torch {torch.__version__} keeps the state of fully_shard where taskloom does not find it ({error}); use "
            "torch 2.13, or DistributedDataParallel"
        ) from error
    return found


def _state(entry: Any) -> Any:
    state = entry() if callable(entry) else entry  # versions keep it weakly or not
    return state if hasattr(state, "_fsdp_param_group") or hasattr(state, "_fsdp_param_groups") else None


def _groups(state: Any) -> list[Any]:
    several = getattr(state, "_fsdp_param_groups", None)
    if several is not None:
        return list(several)
    return [] if state._fsdp_param_group is None else [state._fsdp_param_group]


def sharded_as(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parameters that the optimiser holds: shards in place of gathered ones, all others as they are.

    After a forward pass the module that was wrapped last still shows its parameters gathered.
    """
    gathered = {id(shard.gathered): shard.parameter for shard in shards()}
    if not gathered:
        return list(parameters)
    return [gathered.get(id(parameter), parameter) for parameter in parameters]


def gathered_as(parameters: Sequence[Tensor]) -> list[Tensor]:
    """The parameters that the graph holds: gathered ones in place of shards, all others as they are."""
    gathered = {id(shard.parameter): shard.gathered for shard in shards()}
    return [gathered.get(id(parameter), parameter) for parameter in parameters]


@contextmanager
def every_shard_synchronises(found: Sequence[Shard]) -> Iterator[None]:
    """While inside, every backward pass reduces its gradients to the shards, also in a step that only accumulates.

    Raises:
        EngineError: gradients of an earlier backward pass wait to be reduced, and would be counted to the first task.
    """
    for shard in found:
        if shard.gathered.grad is not None or shard.managed.unsharded_accumulated_grad is not None:
            raise EngineError(
                f"the parameter {shard.name!r} holds gradients of an earlier backward pass that were not reduced "
                "(set_requires_gradient_sync(False)); leave the synchronisation on in steps with balance(), whose "
                "gradients are reduced already"
            )
    groups = {id(shard.group): shard.group for shard in found}.values()
    states = {id(shard.state): shard.state for shard in found}.values()
    before = [(group, group.reduce_grads, group.all_reduce_grads) for group in groups]
    last = [(state, state.is_last_backward) for state in states]
    for group in groups:
        group.reduce_grads = group.all_reduce_grads = True
    for state in states:
        state.is_last_backward = True
    try:
        yield
    finally:
        for group, reduces, all_reduces in before:
            group.reduce_grads, group.all_reduce_grads = reduces, all_reduces
        for state, is_last in last:
            state.is_last_backward = is_last
