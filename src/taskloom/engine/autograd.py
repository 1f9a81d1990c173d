"""Per-task gradients by one ``torch.autograd.grad`` per task on the retained graph: works for every model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from taskloom.engine._guards import measuring
from taskloom.engine.base import Cost, Layout, ParameterRows, ranks
from taskloom.errors import EngineError

__all__ = ["AutogradEngine", "explained", "gradients_of"]


class AutogradEngine:
    """Rows of the Jacobian by K backward passes; the reference that every other engine has to agree with.

        J_k = d l_k / d theta

    Cost:
        K backward passes through the shared part; memory K times its parameters.

    Distributed:
        with a process group, every row is averaged over the ranks before products are taken (an all-reduce of K P
        numbers). Averaging Gramians instead would be wrong. Sharded parameters (FSDP) are not supported.

    Example:
        >>> theta = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> AutogradEngine().rows([theta.sum(), theta[0] ** 2], [theta]).matrix()
        tensor([[1., 1.],
                [2., 0.]])
    """

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> ParameterRows:
        """Task gradients J, shape (K, P) in blocks; zeros where a task does not reach a parameter.

        Raises:
            EngineError: the graph of the losses was freed by an earlier backward pass.
        """
        layout = Layout(parameters)
        blocks = layout.empty(len(losses))
        nothing: list[Tensor | None] = [None] * len(parameters)
        for k, loss in enumerate(losses):
            gradients = nothing if loss is None else gradients_of(loss, parameters)
            layout.flatten(gradients, into=[block[k] for block in blocks])
        n_ranks = ranks()
        if n_ranks > 1:
            for block in blocks:
                torch.distributed.all_reduce(block)
                block /= n_ranks
        return ParameterRows(blocks, layout)

    def gramian(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
        """G = J J^T, shape (K, K), float64 for K <= 64."""
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Sequence[Tensor], n_tasks: int) -> Cost:
        """K backward passes and K copies of the shared parameters."""
        size = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
        return Cost(backward_passes=n_tasks, bytes=n_tasks * size)


def gradients_of(loss: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Gradients of one scalar, None where it does not reach a parameter; the graph is kept.

    Raises:
        EngineError: the graph cannot be passed through (again).
    """
    with explained():
        return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)


@contextmanager
def explained() -> Iterator[None]:
    """While inside, gradients may flow through guarded modules, and what autograd says of the graph is explained.

    Raises:
        EngineError: the graph cannot be passed through (again).
    """
    try:
        with measuring():
            yield
    except RuntimeError as error:
        for sign, advice in _ADVICE.items():
            if sign in str(error):
                raise EngineError(advice) from error
        raise


_ADVICE = {
    "donated buffers": (
        "the model was compiled with buffers that can be used once, and task gradients need the graph several times; "
        "set torch._functorch.config.donated_buffer = False before compiling"
    ),
    "second time": (
        "the graph of the losses was freed by an earlier backward(); compute the losses again, and call balance() once "
        "per forward pass, before backward()"
    ),
    "use_reentrant=True": (
        "a part of the model is checkpointed in the reentrant way, which hides its parameters; write "
        "torch.utils.checkpoint.checkpoint(..., use_reentrant=False)"
    ),
    "modified by an inplace operation": (
        "a tensor that the backward pass needs was changed in place after the forward pass; call balance() before "
        "such a change, or change a copy"
    ),
}
