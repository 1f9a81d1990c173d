"""Tasks whose gradient is 0 because no path leads from their loss to what is balanced."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine._fsdp import is_sharded
from taskloom.engine._graph import reached_by
from taskloom.engine._step import StepLosses
from taskloom.engine.base import ranks
from taskloom.errors import EngineError

__all__ = ["require_reach"]


def require_reach(step: StepLosses, parameters: Sequence[Tensor], products: Tensor, what: str) -> None:
    """Refuse tasks that have no say in the parameters, on all ranks alike.

    Args:
        step: the losses.
        parameters: what task gradients were taken for; where one is sharded, nothing is looked at.
        products: inner products of the task gradients (K, K), the same on all ranks. Only zero rows are looked into.
        what: what one of the parameters is called.

    Raises:
        EngineError: there are such tasks.
    """
    is_zero = (products == 0).all(1).tolist()
    if not any(is_zero) or any(map(is_sharded, parameters)):
        return
    ids = {id(parameter) for parameter in parameters}
    is_here = [loss is not None for loss in step.local]
    reaches = [loss is not None and any(id(leaf) in ids for leaf in reached_by([loss]).leaves) for loss in step.local]
    found = torch.tensor([is_here, reaches], dtype=torch.float32, device=products.device)
    if ranks() > 1:
        torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    given, reached = found.tolist()
    cut_off = [task for k, task in enumerate(step.tasks) if is_zero[k] and given[k] and not reached[k]]
    if cut_off and not any(reached):
        raise EngineError(
            f"no loss of the tasks {cut_off} reaches a {what}; pass the parameters that the forward pass used (not "
            "those of a copy), and compute the losses from their output"
        )
    if cut_off:
        raise EngineError(
            f"the losses of the tasks {cut_off} reach no {what}: their gradients there are 0 and cannot be balanced. "
            "Compute them from the output of the shared part, without .detach(); or leave them out of losses= and add "
            "them to the result of balance(); or pass verify='never' if this is meant"
        )
