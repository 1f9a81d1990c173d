"""One scale for methods whose native lengths differ by orders of magnitude."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from taskloom.balance._entries import uniform
from taskloom.balance._max_norm import multiply, norm_of
from taskloom.balance.base import Link, Need
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["Rescale", "rescale"]

To = Literal["sum", "mean_norm"]


class Rescale(Link):
    """Gives the direction a common length (see :func:`rescale`)."""

    def __init__(self, to: To) -> None:
        super().__init__()
        if to not in ("sum", "mean_norm"):
            raise BalanceError(f"rescale(): expected 'sum' or 'mean_norm', found {to!r}")
        self.target = to

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """Norms need the Gramian."""
        return Need.NOTHING if self.target == "sum" else Need.GRAMIAN

    def forward(self, flow: Flow) -> Flow:
        signals = flow.signals
        active = signals.active
        there = torch.ones_like(signals.losses, dtype=torch.bool) if active is None else active
        if self.target == "sum":
            if flow.n_rows != 1 or flow.direction is not None:
                raise BalanceError(f"{self!r} acts on the weights of one row; put it at the end, after a reducer")
            return multiply(flow, _ratio(there.sum().to(flow.mix), (flow.mix.detach()[0] * there).abs().sum()))
        assert signals.gramian is not None
        share = uniform(there, flow.mix)
        mean = (share @ signals.gramian.to(share) @ share).clamp(min=0).sqrt()  # ||g_0||
        return multiply(flow, _ratio(mean, norm_of(flow, self)))

    def __repr__(self) -> str:
        return f"rescale({self.target!r})"


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    """Factor from the length that is found to the wanted one; 1 for a zero direction, which no factor lengthens."""
    return torch.where(found > 0, wanted / torch.where(found > 0, found, 1.0), 1.0)


def rescale(to: To) -> Rescale:
    """Link for the end of a chain that gives the direction the length of the plain sum or mean.

    To compare methods at one learning rate: their native lengths differ by orders of magnitude. No method of this
    library does it by itself.

        "sum": w <- K w / sum |w|        "mean_norm": w <- w ||g_0|| / ||J^T w||, with g_0 the mean task gradient

    Args:
        to: "sum": weights whose sizes sum to the number of tasks K; "mean_norm": the norm of the mean gradient.

    Returns:
        the link; it needs one row, so put it after a reducer; "mean_norm" needs the Gramian.

    Raises:
        BalanceError: something else; at a step, more than one row, or "sum" after a rule that makes directions.

    Cost:
        nothing beside methods that measure task gradients; "mean_norm" after others, one backward pass per task.

    Example:
        >>> from taskloom.balance.base import chain
        >>> from taskloom.balance.reduce.mean import mean
        >>> chain(mean(), rescale("sum")).weights(torch.eye(2))
        tensor([1., 1.])
    """
    return Rescale(to)
