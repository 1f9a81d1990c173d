"""Sum of the rows, ``w = 1``: the reducer of most recipes, and equal weighting when nothing comes before it."""

from __future__ import annotations

from typing import ClassVar, Literal

from taskloom.balance.base import Balancer, Link, Need, chain
from taskloom.balance.flow import Flow
from taskloom.balance.reduce.mean import mean
from taskloom.errors import BalanceError

__all__ = ["Sum", "equal", "sum_"]


class Sum(Link):
    """Adds the rows (see :func:`sum_`)."""

    needs: ClassVar[Need] = Need.NOTHING
    is_constant: ClassVar[bool] = True
    reduces: ClassVar[bool] = True

    def forward(self, flow: Flow) -> Flow:
        return flow.becomes(mix=flow.mix.sum(0, keepdim=True), is_diagonal=flow.is_diagonal)

    def __repr__(self) -> str:
        return "sum_()"


def sum_() -> Sum:
    """Link that adds the rows: the direction of the sum of what came before it.

        A = 1^T,  shape (1, S)

    Returns:
        the link; it needs nothing and adds no cost.

    Example:
        >>> import torch
        >>> from taskloom.balance.base import chain
        >>> chain(sum_()).weights(torch.eye(3))
        tensor([1., 1., 1.])
    """
    return Sum()


def equal(reduction: Literal["sum", "mean"] = "sum") -> Balancer:
    """Every task counts the same: the plain sum of the losses, the baseline that every method has to beat.

    Try it first, with a tuned learning rate: tuned fixed weights are hard to beat.

        w_k = 1 (sum)  or  w_k = 1/K (mean, K the number of tasks in the batch)

    Args:
        reduction: ``"sum"`` (default, the field's baseline) or ``"mean"``. They differ by the factor K, which acts on
            the learning rate; no other method of this library hides such a factor.

    Returns:
        ``chain(sum_())`` or ``chain(mean())``.

    Raises:
        BalanceError: the reduction is neither.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        nothing is exchanged for it.

    Differs from the paper:
        nothing.

    Source:
        common practice; as a baseline: Kurin, De Palma, Kostrikov, Whiteson, Kumar, "In Defense of the Unitary
        Scalarization for Deep Multi-Task Learning", NeurIPS 2022, arXiv 2201.04122.

    Example:
        >>> import torch
        >>> equal("mean").weights(torch.eye(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    if reduction == "sum":
        return chain(sum_())
    if reduction == "mean":
        return chain(mean())
    raise BalanceError(f"equal(): reduction must be 'sum' or 'mean', found {reduction!r}")
