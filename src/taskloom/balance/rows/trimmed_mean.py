"""Trimmed mean: in every coordinate the largest and the smallest entries are left out of the mean.

d_p = mean of J_(b+1)p, ..., J_(K-b)p,    entries of coordinate p in ascending order
"""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.balance._entries import present, uniform
from taskloom.balance.base import Balancer, RowRule, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["TrimmedMean", "trimmed_mean"]


class TrimmedMean(RowRule):
    """Averages what is left of every coordinate without its extremes (see :func:`trimmed_mean`)."""

    def __init__(self, n_trim: int) -> None:
        super().__init__()
        if isinstance(n_trim, bool) or not isinstance(n_trim, int) or n_trim < 0:
            raise BalanceError(f"trimmed_mean(): n_trim is a whole number >= 0, found {n_trim!r}")
        self.n_trim = n_trim

    def combine(self, rows: Tensor) -> Tensor:
        """Direction (P,) from the rows (S, P)."""
        return _trim(rows, torch.ones(len(rows), dtype=torch.bool, device=rows.device), self.n_trim)

    def forward(self, flow: Flow) -> Flow:
        rows = flow.rows()
        is_there = present(flow)
        direction = _trim(rows, is_there.to(rows.device), self.n_trim)
        return flow.combined(uniform(is_there, flow.mix), direction=direction)

    def __repr__(self) -> str:
        return f"trimmed_mean({self.n_trim})"


def _trim(rows: Tensor, is_there: Tensor, n_trim: int) -> Tensor:
    n_there = is_there.sum()
    trim = ((n_there - 1).clamp(min=0) // 2).clamp(max=n_trim)  # at least one entry is left
    ordered = torch.where(is_there.unsqueeze(1), rows, torch.inf).sort(dim=0).values  # absent tasks last
    place = torch.arange(len(rows), device=rows.device)
    kept = (place >= trim) & (place < n_there - trim)
    return torch.where(kept.unsqueeze(1), ordered, 0).sum(0) / kept.sum().clamp(min=1)


def trimmed_mean(n_trim: int = 1) -> Balancer:
    """Coordinate-wise mean without the extremes: a rule from distributed learning with unreliable workers.

    Not meant for multi-task learning: what it leaves out is what a minority of tasks wants. It is here for comparison,
    and for "tasks" that are noisy copies of one.

        d_p = mean of the entries of coordinate p without its b largest and b smallest

    Args:
        n_trim: b, how many entries are left out at each end; fewer where too few tasks are there.

    Returns:
        the balancer.

    Raises:
        BalanceError: n_trim is no whole number >= 0.

    Cost:
        K backward passes through the shared part; K times its parameters in memory, and a sort of them.

    Distributed:
        task gradients are averaged over ranks first.

    Differs from the paper:
        n_trim is a number of tasks, in the paper a share; with too few tasks it is lowered instead of an error.

    Source:
        Yin, Chen, Kannan, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML
        2018, arXiv 1803.01498. Compared with TorchJD 0.18.0.

    Example:
        >>> trimmed_mean().direction(torch.tensor([[1.0, 0.0], [2.0, 5.0], [9.0, 1.0]]))
        tensor([2., 1.])
    """
    return chain(TrimmedMean(n_trim))
