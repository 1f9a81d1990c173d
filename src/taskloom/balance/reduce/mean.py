"""Mean of the rows, ``w = 1/K``, over the tasks that are present."""

from __future__ import annotations

from typing import ClassVar

from taskloom.balance.base import Link, Need
from taskloom.balance.flow import Flow

__all__ = ["Mean", "mean"]


class Mean(Link):
    """Averages the rows (see :func:`mean`)."""

    needs: ClassVar[Need] = Need.NOTHING
    is_constant: ClassVar[bool] = True
    reduces: ClassVar[bool] = True

    def forward(self, flow: Flow) -> Flow:
        total = flow.mix.sum(0, keepdim=True)
        active = flow.signals.active
        if active is None or flow.n_rows != flow.signals.n_tasks:
            return flow.becomes(mix=total / flow.n_rows, is_diagonal=flow.is_diagonal)
        return flow.becomes(mix=total / active.sum().clamp(min=1), is_diagonal=flow.is_diagonal)

    def __repr__(self) -> str:
        return "mean()"


def mean() -> Mean:
    """Link that averages the rows; an absent task is not counted.

        A = 1^T / S,  shape (1, S)

    Returns:
        the link; it needs nothing and adds no cost.

    Example:
        >>> import torch
        >>> from taskloom.balance.base import chain
        >>> chain(mean()).weights(torch.eye(2))
        tensor([0.5000, 0.5000])
    """
    return Mean()
