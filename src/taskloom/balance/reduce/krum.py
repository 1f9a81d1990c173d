"""Krum: of all gradients take those that lie closest to their neighbours, and drop the rest."""

from __future__ import annotations

from torch import Tensor

from taskloom.balance._entries import presence
from taskloom.balance._operators import Array, each_gramian, like_a_row, operator
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.solvers import krum as _krum

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
        weights: Tensor = _krum_of(gramian.detach(), None, self.n_byzantine, self.n_selected)
        return weights

    def forward(self, flow: Flow) -> Flow:
        return flow.combined(_krum_of(flow.gramian(), presence(flow), self.n_byzantine, self.n_selected))

    def __repr__(self) -> str:
        return f"krum({self.n_byzantine}, {self.n_selected})"


def _solve(gramian: Tensor, active: Tensor | None, n_byzantine: int, n_selected: int) -> Tensor:
    def solve(matrix: Array) -> tuple[Array, bool]:
        return _krum.closest(matrix, n_byzantine, n_selected), True

    return each_gramian(solve, gramian, active)[0]


_krum_of = operator(
    "krum", "Tensor gramian, Tensor? active, int n_byzantine, int n_selected", solve=_solve, fake=like_a_row
)


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
        >>> import torch
        >>> jacobian = torch.tensor([[1.0, 0.0], [1.1, 0.0], [1.3, 0.0], [-9.0, 0.0]])
        >>> krum(1, 2).direction(jacobian)  # the first two are each other's neighbours
        tensor([1.0500, 0.0000])
    """
    return chain(Krum(n_byzantine, n_selected))
