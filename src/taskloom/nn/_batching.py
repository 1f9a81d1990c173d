"""When several modules or several row blocks are computed together, and when one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["batched_evaluation", "casts", "computes_together", "couples_rows", "joined_rows", "run_together"]

_EVALUATE_TOGETHER: ContextVar[bool] = ContextVar("taskloom_evaluate_together", default=False)


@contextmanager
def batched_evaluation() -> Iterator[None]:
    """Let models compute tasks together in evaluation mode too.

    In evaluation mode models compute each task for itself, so that asking for fewer tasks gives bit-equal answers.
    Inside this context they use the batched computation of training mode, which is faster for many tasks and equal
    to rounding.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP, Parallel
        >>> encoders = Parallel([MLP(3) for _ in range(20)]).eval()
        >>> with batched_evaluation():
        ...     len(encoders.run_same(torch.zeros(2, 3)))
        20
    """
    token = _EVALUATE_TOGETHER.set(True)
    try:
        yield
    finally:
        _EVALUATE_TOGETHER.reset(token)


def computes_together(module: nn.Module) -> bool:
    """Whether work may be batched over tasks: in training mode, or inside :func:`batched_evaluation`."""
    if module.training or torch.compiler.is_compiling():  # compilers cannot read a context variable
        return module.training
    return _EVALUATE_TOGETHER.get()


def casts(module: nn.Module) -> bool:
    """Whether autocast is on where a module is; it does not reach into ``torch.func.vmap``."""
    first = next(module.parameters(), None)
    return first is not None and torch.is_autocast_enabled(first.device.type)


def couples_rows(module: nn.Module) -> bool:
    """Whether an output row depends on the other rows of the batch: batch normalisation that uses batch statistics."""
    return any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) and (part.training or part.running_mean is None)
        for part in module.modules()
    )


def run_together(module: nn.Module, parts: Sequence[Any]) -> list[Any]:
    """Apply one module to several row blocks: one call on the concatenated rows where that gives the same.

    One call is made when work may be batched (:func:`computes_together`), all blocks are tensors of one row shape, and
    the module does not couple rows. A block given several times (the same object) is computed once.

    Args:
        module: maps (n, ...) to (n, ...).
        parts: blocks of rows, (n_k, ...) each.

    Returns:
        the outputs, in the order of the blocks.
    """
    if len(parts) == 1 or all(part is parts[0] for part in parts[1:]):
        return [module(parts[0])] * len(parts)
    together = joined_rows(module, parts)
    if together is None:
        return [module(part) for part in parts]
    output = module(together)
    if isinstance(output, Tensor) and output.ndim > 0 and output.shape[0] == together.shape[0]:
        return list(torch.split(output, [part.shape[0] for part in parts]))
    return [module(part) for part in parts]


def joined_rows(module: nn.Module, parts: Sequence[Any]) -> Tensor | None:
    """All row blocks in one tensor, where a module may compute them together; else None.

    That is when work may be batched (:func:`computes_together`), all blocks are tensors of one row shape, and the
    module does not couple rows.
    """
    if not computes_together(module) or not _same_rows(parts) or couples_rows(module):
        return None
    return torch.cat(list(parts))


def _same_rows(parts: Sequence[Any]) -> bool:
    first = parts[0]
    return isinstance(first, Tensor) and all(
        isinstance(part, Tensor) and part.shape[1:] == first.shape[1:] and part.dtype == first.dtype for part in parts
    )
