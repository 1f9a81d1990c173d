"""DWA: tasks whose loss falls slowly from one epoch to the next get more weight.

    rho_k = L_k(e - 1) / L_k(e - 2),    w_k = K exp(rho_k / T) / sum_j exp(rho_j / T)

with L_k(e) the mean loss of task k over epoch e; all weights are 1 in the first two epochs. A task's epochs count
where it was there; one that an epoch lacked compares its last two.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import Remembering, learnable, softmax
from taskloom.errors import BalanceError

__all__ = ["LossTrends", "dwa", "loss_trends"]

_LARGEST_RATIO = 20.0


class LossTrends(Remembering):
    """Scales every task by how slowly its mean loss falls (see :func:`loss_trends`)."""

    method: ClassVar[str] = "dwa"

    total: Tensor  # (K,) sum of the losses since the last mean was taken
    count: Tensor  # (K,) their number
    newest: Tensor  # (K,) the last mean
    before: Tensor  # (K,) the one before it
    n_means: Tensor  # (K,) how many means there were
    n_steps: Tensor  # () steps in the running window

    def __init__(self, temperature: float, *, window: int | None) -> None:
        super().__init__()
        if not (math.isfinite(temperature) and temperature > 0):
            raise BalanceError(f"dwa(): temperature must be a positive number, found {temperature!r}")
        if window is not None and (isinstance(window, bool) or not isinstance(window, int) or window < 1):
            raise BalanceError(f"dwa(): window must be a whole number of steps >= 1, or None, found {window!r}")
        self.temperature = float(temperature)
        self.window = window

    def start(self, n_tasks: int) -> dict[str, Tensor]:
        names = ("total", "count", "newest", "before", "n_means")
        return {
            **{name: torch.zeros(n_tasks, dtype=torch.float64) for name in names},
            "n_steps": torch.zeros((), dtype=torch.float64),
        }

    def scale(self, flow: Flow) -> Tensor:
        entries, is_there = self.entries(flow), present(flow)
        newest, before, n_means = (entries.take(one) for one in (self.newest, self.before, self.n_means))
        is_known = (n_means >= 2) & (before != 0)
        ratio = torch.where(is_known, newest / torch.where(is_known, before, 1.0), 1.0).clamp(0.0, _LARGEST_RATIO)
        weights = is_there.sum() * softmax((ratio / self.temperature).to(flow.mix), is_there)
        known = learnable(flow)
        entries.put(self.total, entries.take(self.total) + flow.losses(), known)
        entries.put(self.count, entries.take(self.count) + 1, known)
        if self.window is not None:
            self.n_steps.add_(1)
            self._take_means(self.n_steps >= self.window)
        return weights

    def end_epoch(self) -> None:
        if self.window is None and self.tasks:
            self._take_means(torch.ones((), dtype=torch.bool, device=self.total.device))

    def _take_means(self, now: Tensor) -> None:
        """Close the running epoch if ``now``: its means become the newest ones, for tasks that it had."""
        had = now & (self.count > 0)
        mean = self.total / self.count.clamp(min=1)
        self.before.copy_(torch.where(had, self.newest, self.before))
        self.newest.copy_(torch.where(had, mean, self.newest))
        self.n_means.copy_(self.n_means + had)
        for name in ("total", "count", "n_steps"):
            self.get_buffer(name).copy_(torch.where(now, 0.0, self.get_buffer(name)))

    def __repr__(self) -> str:
        window = "" if self.window is None else f", window={self.window}"
        return f"loss_trends(temperature={self.temperature:g}{window})"


def loss_trends(temperature: float = 2.0, *, window: int | None = None) -> LossTrends:
    """Link that scales each task by the softmax of the ratio of its last two mean losses.

        A = diag(K softmax(rho / T)),    rho = L(e - 1) / L(e - 2)

    Args:
        temperature: as :func:`dwa`.
        window: as :func:`dwa`.

    Returns:
        the link; it needs the losses and remembers the mean losses of two epochs.

    Raises:
        BalanceError: as :func:`dwa`.

    Example:
        >>> balancer = chain(loss_trends(window=1))
        >>> for losses in ([2.0, 2.0], [1.0, 2.0]):
        ...     weights = balancer.weights(None, torch.tensor(losses))
        >>> weights, balancer.weights(None, torch.tensor([1.0, 2.0]))  # the first loss was halved
        (tensor([1., 1.]), tensor([0.8756, 1.1244]))
    """
    return LossTrends(temperature, window=window)


def dwa(temperature: float = 2.0, window: int | None = None) -> Balancer:
    """Dynamic weight average: tasks whose loss falls slowly count more.

    A light touch: mean losses of neighbouring epochs differ by a few percent, so the weights stay within about ten
    percent of 1 and the result near that of ``equal()``. The end of an epoch has to be told: :func:`taskloom.fit`
    does it; in a loop of your own call ``balancer.end_epoch()``, or give a ``window``.

        w_k = K exp(rho_k / T) / sum_j exp(rho_j / T),    rho_k = L_k(e - 1) / L_k(e - 2)

    Args:
        temperature: T > 0; default 2, the paper's. Larger values give more equal weights.
        window: number of steps whose mean loss replaces that of an epoch; default None, epochs.

    Returns:
        ``chain(loss_trends(...))``.

    Raises:
        BalanceError: a temperature or window that is not positive.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first, so that every rank has the same weights.

    Differs from the paper:
        a mean loss of 0 in the earlier epoch counts as no change, and ratios are kept within [0, 20].

    Source:
        Liu, Johns, Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019, arXiv 1803.10704, equation 7.
        Compared with TorchJD 0.18.0.

    Example:
        >>> balancer = dwa()
        >>> for mean_loss in ([2.0, 2.0], [1.0, 2.0]):
        ...     weights = balancer.weights(None, torch.tensor(mean_loss))
        ...     balancer.end_epoch()
        >>> balancer.weights(None, torch.tensor([1.0, 2.0]))
        tensor([0.8756, 1.1244])
    """
    return chain(loss_trends(temperature, window=window))
