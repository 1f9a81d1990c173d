"""Inner products without the gradients; the direction comes from one backward pass of the weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from taskloom.balance.flow import Rows
from taskloom.engine.autograd import gradients_of
from taskloom.engine.base import Layout, ParameterRows, ranks
from taskloom.errors import EngineError

__all__ = ["DeferredRows", "Direction", "one_pass"]

Direction = Callable[[Tensor], Sequence[Tensor | None]]
"""From weights (K,) to J^T w, one tensor per parameter, None where no loss reaches it."""


class DeferredRows(ParameterRows):
    """Inner products of task gradients, and how to find a direction once the weights are known.

    Args:
        products: inner products, shape (K, K), exact or not.
        direction: makes J^T w; exact.
        layout: the parameters.
        leaves: every leaf that the losses reach, if the engine has looked.
        heads: gradients that came out of the same passes (see :class:`ParameterRows`).
        measured_by: name of the engine, for messages.
        factor: what the losses were multiplied by.
    """

    def __init__(
        self,
        products: Tensor,
        direction: Direction,
        *,
        layout: Layout,
        leaves: tuple[Tensor, ...] | None = None,
        heads: Mapping[int, tuple[int, Tensor]] | None = None,
        measured_by: str,
        factor: float = 1.0,
    ) -> None:
        kept = {
            "blocks": (),
            "products": products,
            "direction": direction,
            "layout": layout,
            "leaves": leaves,
            "heads": {} if heads is None else heads,
            "measured_by": measured_by,
            "factor": factor,
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # the class is frozen

    products: Tensor
    direction: Direction
    measured_by: str
    factor: float

    @property
    def n_tasks(self) -> int:
        """Number of rows K."""
        return self.products.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_tasks} tasks, measured by {self.measured_by})"

    def gramian(self) -> Tensor:
        """The inner products (K, K)."""
        return self.products / self.factor**2

    def gradients(self, weights: Tensor) -> list[Tensor | None]:
        """J^T w by one backward pass, averaged over ranks."""
        found = list(self.direction(weights.detach() / self.factor))
        n_ranks = ranks()
        if n_ranks > 1:
            blocks = self.layout.flatten(found)
            for block in blocks:
                torch.distributed.all_reduce(block)
                block /= n_ranks
            found = [*self.layout.split(blocks)]
        return found

    def combine(self, weights: Tensor) -> tuple[Tensor, ...]:
        """J^T w per block of the layout."""
        return self.layout.flatten(self.gradients(weights))

    def divided(self, factor: float) -> DeferredRows:
        """The rows of losses that are smaller by a factor."""
        heads = {leaf: (task, gradient / factor) for leaf, (task, gradient) in self.heads.items()}
        return DeferredRows(
            self.products,
            self.direction,
            layout=self.layout,
            leaves=self.leaves,
            heads=heads,
            measured_by=self.measured_by,
            factor=self.factor * factor,
        )

    def cross(self, other: Rows) -> Tensor:
        """Refused: the gradients are not there."""
        raise self._without("compares the gradients of two batches")

    def matrix(self) -> Tensor:
        """Refused: the gradients are not there."""
        raise self._without("looks at single entries of the task gradients")

    def split(self, vector: Tensor) -> tuple[Tensor, ...]:
        """Refused: the gradients are not there."""
        raise self._without("looks at single entries of the task gradients")

    def _without(self, what: str) -> EngineError:
        return EngineError(
            f"this balancer {what}, and {self.measured_by} keeps their inner products only; leave engine= out, or use "
            "a method that needs inner products alone, such as pcgrad()"
        )


def one_pass(losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Direction:
    """The direction by an ordinary backward pass of the weighted sum of the losses."""

    def direction(weights: Tensor) -> Sequence[Tensor | None]:
        terms = [loss * weight.to(loss) for loss, weight in zip(losses, weights, strict=True) if loss is not None]
        if not terms:
            return [None] * len(parameters)
        with torch.enable_grad():
            total = torch.stack([term.to(terms[0].dtype) for term in terms]).sum()
        return gradients_of(total, parameters)

    return direction
