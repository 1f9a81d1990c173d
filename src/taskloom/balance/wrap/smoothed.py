"""CR-MOGM: the exponential moving average of the weights that another balancer finds.

w_t = alpha_t w_{t-1} + (1 - alpha_t) lambda_t,    lambda_t the weights of the balancer inside,    w_1 = lambda_1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.wrap._wrapper import Wrapper
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Smoothed", "smoothed"]


class Smoothed(Wrapper):
    """Averages the weights of a balancer over steps (see :func:`smoothed`)."""

    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    average: Tensor  # (K,)
    has_average: Tensor  # (K,) bool, False for tasks that were never there

    def __init__(self, alpha: float | Callable[[int], float], balancer: Balancer) -> None:
        super().__init__("smoothed", balancer)
        if not callable(alpha):
            _alpha(alpha)
        self.alpha = alpha

    def bind(self, tasks: Sequence[Task | str]) -> None:
        super().bind(tasks)
        self.register_buffer("average", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.register_buffer("has_average", torch.zeros(len(self.tasks), dtype=torch.bool))

    def reset(self) -> None:
        super().reset()
        if self.tasks:
            self.average.zero_()
            self.has_average.zero_()

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        after = self.run(0, flow)
        if after.direction is not None:
            raise BalanceError(
                f"{self!r}: the balancer inside makes a direction, not weights; there is nothing to average"
            )
        found = after.mix[0].detach().to(self.average.dtype)
        alpha = _alpha(self.alpha(flow.signals.step)) if callable(self.alpha) else self.alpha
        average, has_average = entries.take(self.average), entries.take(self.has_average)
        average = torch.where(has_average, alpha * average + (1 - alpha) * found, found)
        is_finite = torch.isfinite(found).all()
        entries.put(self.average, average, is_finite)
        entries.put(self.has_average, torch.ones_like(has_average), is_finite)
        return after.becomes(mix=average.to(after.mix).unsqueeze(0))

    def __repr__(self) -> str:
        alpha = getattr(self.alpha, "__qualname__", type(self.alpha).__name__) if callable(self.alpha) else self.alpha
        return f"smoothed({alpha}, {self.inner.links[0]!r})"


def _alpha(alpha: float) -> float:
    if not 0 <= alpha <= 1:
        raise BalanceError(f"smoothed(): alpha must be a number between 0 and 1, found {alpha!r}")
    return alpha


def smoothed(alpha: float | Callable[[int], float], balancer: Balancer) -> Balancer:
    """Average a balancer's weights over steps: less noise, and convergence where single batches mislead.

    Try it with any method that solves for weights in every step (MGDA, CAGrad, Nash-MTL) when its weights jump from
    batch to batch. 0.9 is the usual alpha.

        w_t = alpha w_{t-1} + (1 - alpha) lambda_t,    w_1 = lambda_1

    Args:
        alpha: how much of the past stays, in [0, 1]; or a function of the number of steps made before, for example to
            let it grow as the learning rate falls: ``lambda step: 1 - rate(step) / rate(0)``.
        balancer: finds lambda; any that ends in weights.

    Returns:
        ``chain(smoothed(alpha, balancer))``. Gradients of heads are weighted or not as in the balancer inside.

    Raises:
        BalanceError: alpha outside [0, 1], or a balancer that makes directions from rows.

    Cost:
        that of the balancer inside.

    Distributed:
        as the balancer inside.

    Differs from the paper:
        nothing. A task that was never there starts with its first weight; the average of an absent task stays.

    Source:
        Zhou, Zhang, Jiang, Zhong, Gu, Zhu, "On the Convergence of Stochastic Multi-Objective Gradient Manipulation and
        Beyond", NeurIPS 2022 (CR-MOGM).

    Example:
        >>> import taskloom as tl
        >>> balancer = smoothed(0.5, tl.pcgrad())
        >>> opposed, orthogonal = torch.tensor([[1.0, -1.0], [-1.0, 4.0]]), torch.eye(2)
        >>> balancer.weights(opposed), balancer.weights(orthogonal)
        (tensor([2.0000, 1.2500]), tensor([1.5000, 1.1250]))
    """
    return chain(Smoothed(alpha, balancer))
