"""Krum: of all gradients take those that lie closest to their neighbours, and drop the rest.

s_i = sum of ||g_i - g_j||^2 over the K - f - 2 nearest j,   ||g_i - g_j||^2 = G_ii + G_jj - 2 G_ij
"""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["Krum", "krum"]


class Krum(Reduce):
    """Equal weights for the rows closest to their neighbours (see :func:`krum`)."""

    def __init__(self, n_byzantine: int, n_selected: int) -> None:
        super().__init__()
        for name, given, lowest in (("n_byzantine", n_byzantine, 0), ("n_selected", n_selected, 1)):
            if isinstance(given, bool) or not isinstance(given, int) or given < lowest:
                raise BalanceError(f"krum(): {name} is a whole number >= {lowest}, found {given!r}")
        self.n_byzantine = n_byzantine
        self.n_selected = n_selected

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S)."""
        is_there = torch.ones(len(gramian), dtype=torch.bool, device=gramian.device)
        return _select(gramian, is_there, self.n_byzantine, self.n_selected)

    def forward(self, flow: Flow) -> Flow:
        weights = _select(flow.gramian(), present(flow), self.n_byzantine, self.n_selected)
        return flow.combined(weights)

    def __repr__(self) -> str:
        return f"krum({self.n_byzantine}, {self.n_selected})"


def _select(gramian: Tensor, is_there: Tensor, n_byzantine: int, n_selected: int) -> Tensor:
    squares = gramian.diagonal()
    distances = (squares.unsqueeze(1) + squares - 2 * gramian).clamp(min=0)
    place = torch.arange(len(gramian), device=gramian.device)
    apart = is_there & (place.unsqueeze(1) != place)  # (S, S): neighbours that count
    ordered = torch.where(apart, distances, torch.inf).sort(dim=1).values
    n_neighbours = (is_there.sum() - n_byzantine - 2).clamp(min=1)  # too few rows: the nearest one
    counted = (place < n_neighbours) & ordered.isfinite()
    scores = torch.where(is_there, torch.where(counted, ordered, 0).sum(1), torch.inf)
    bound = scores.sort().values[min(n_selected, len(scores)) - 1]
    # Ties are shared: which of two equal rows came first must not decide. Two nearest neighbours often tie.
    selected = (is_there & (scores <= bound)).to(gramian)
    return selected / selected.sum().clamp(min=1)


def krum(n_byzantine: int = 0, n_selected: int = 1) -> Balancer:
    """The gradient that lies closest to the others: a rule from distributed learning with unreliable workers.

    Not meant for multi-task learning: it drops minority tasks altogether. It is here for comparison, and for "tasks"
    that are noisy copies of one.

        w_i = 1/m for the m rows of smallest s_i,   s_i = sum of ||g_i - g_j||^2 over the K - f - 2 nearest j

    Args:
        n_byzantine: f, how many rows may be arbitrary.
        n_selected: m, how many rows are averaged; 1 (default) is Krum, more is multi-Krum.

    Returns:
        the balancer.

    Raises:
        BalanceError: the numbers are no whole numbers, or out of range.

    Cost:
        K backward passes through the shared part; K times its parameters in memory.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        rows of equal score share the weight. With fewer than f + 3 rows one neighbour counts instead of an error.

    Source:
        Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
        Descent", NeurIPS 2017, arXiv 1703.02757. Compared with TorchJD 0.18.0.

    Example:
        >>> jacobian = torch.tensor([[1.0, 0.0], [1.1, 0.0], [1.3, 0.0], [-9.0, 0.0]])
        >>> krum(1, 2).direction(jacobian)  # the first two are each other's neighbours
        tensor([1.0500, 0.0000])
    """
    return chain(Krum(n_byzantine, n_selected))
