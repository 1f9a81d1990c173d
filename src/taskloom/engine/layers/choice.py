"""Which steps are measured layer by layer without being asked to."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from torch import Tensor, nn

from taskloom.engine._fsdp import is_sharded
from taskloom.engine.base import ranks
from taskloom.engine.layers.engine import LayerEngine

__all__ = ["default_engine"]

_engines: weakref.WeakKeyDictionary[nn.Module, LayerEngine] = weakref.WeakKeyDictionary()
"""One engine per balancer: it keeps its blocks from step to step, and goes when the balancer goes."""


def default_engine(
    owner: nn.Module, parameters: Sequence[Tensor], shared: object, *, needs_rows: bool
) -> LayerEngine | None:
    """The layer engine of a balancer; None where one backward pass per task is the way.

    That is: whole rows are needed, several ranks average them, parameters are sharded, or a module has backward hooks
    of the old kind, which may change the gradients of weights and cannot be seen in the graph.

    Args:
        owner: the balancer.
        parameters: those whose task gradients are wanted.
        shared: what the caller passed as shared parameters.
        needs_rows: whether the balancer looks at single entries of gradients.
    """
    if needs_rows or not parameters or ranks() > 1 or any(map(is_sharded, parameters)):
        return None
    if isinstance(shared, nn.Module) and any(_has_old_hooks(module) for module in shared.modules()):
        return None
    found = _engines.get(owner)
    if found is None:
        found = _engines[owner] = LayerEngine()
    return found


def _has_old_hooks(module: nn.Module) -> bool:
    return bool(module._backward_hooks) and module._is_full_backward_hook is False
