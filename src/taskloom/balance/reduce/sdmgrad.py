"""SDMGrad: the min-norm direction, pulled towards the mean gradient.

    w in argmin over the simplex of 1/2 ||J^T w + lambda g_0||^2,    d = (J^T w + lambda g_0) / (1 + lambda)

``lambda = 0`` is MGDA, a large one the mean. The exact form solves this for one batch: it is the min-norm problem of
the shifted rows ``g_i + lambda g_0``. The stochastic form is the paper's algorithm: some steps of projected gradient
descent on an unbiased estimate from two batches, and the direction from a third one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from taskloom.balance._entries import Entries, present, uniform
from taskloom.balance._simplex import project
from taskloom.balance._solve import min_norm
from taskloom.balance.base import Balancer, HeadGradient, Link, Need, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["DirectedMinNorm", "DirectedMinNormSteps", "sdmgrad"]

_EPS = 1e-8  # the official code's: the inner descent does not converge, so that its iterates are the definition


class DirectedMinNorm(Reduce):
    """Exact weights from one batch (see :func:`sdmgrad`)."""

    def __init__(self, lambda_: float) -> None:
        super().__init__()
        self.lambda_ = lambda_

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S)."""
        is_there = torch.ones(len(gramian), dtype=torch.bool, device=gramian.device)
        return _directed(gramian, is_there, self.lambda_)

    def forward(self, flow: Flow) -> Flow:
        weights = _directed(flow.gramian(), present(flow), self.lambda_)
        return flow.combined(weights)

    def __repr__(self) -> str:
        return f"sdmgrad({self.lambda_})"


class DirectedMinNormSteps(Link):
    """Weights that follow the exact ones, by steps on products of two batches (see :func:`sdmgrad`)."""

    needs: ClassVar[Need] = Need.CROSS
    reduces: ClassVar[bool] = True
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    n_batches: ClassVar[int] = 3
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    weight: Tensor

    def __init__(self, lambda_: float, lr: float, momentum: float, n_iter: int) -> None:
        super().__init__()
        self.lambda_ = lambda_
        self.lr = lr
        self.momentum = momentum
        self.n_iter = n_iter

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One weight per task."""
        super().bind(tasks)
        n_tasks = len(self.tasks)
        self.register_buffer("weight", torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64))

    def reset(self) -> None:
        if self.tasks:
            self.weight.fill_(1 / len(self.tasks))

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        cross = flow.cross()
        even = uniform(entries.is_there, flow.mix)
        start, share = entries.take_share(self.weight)
        # divided by the square of the mean gradient length, so that the step size means the same whatever that is
        length = (even * cross.diagonal().clamp(min=0).sqrt()).sum()
        products = cross / (length.square() + _EPS)
        weight, velocity = start, torch.zeros_like(start)
        for _ in range(self.n_iter):
            velocity = self.momentum * velocity + products @ (weight + self.lambda_ * even)
            weight = project(weight - self.lr * velocity, entries.is_there)
        moves = length > 0
        weight = torch.where(moves, weight, start)
        entries.put_share(self.weight, weight, share, moves)
        directed = (weight + self.lambda_ * even) / (1 + self.lambda_)
        return flow.combined(directed)

    def __repr__(self) -> str:
        return f"sdmgrad({self.lambda_}, mode='stochastic')"


def _directed(gramian: Tensor, is_there: Tensor, lambda_: float) -> Tensor:
    even = uniform(is_there, gramian)
    towards = lambda_ * (gramian @ even)
    shifted = gramian + towards.unsqueeze(1) + towards + lambda_ * (towards @ even)
    weights = min_norm(shifted, active=is_there)
    weights = torch.where((gramian.diagonal() > 0).any(), weights, even)
    return (weights + lambda_ * even) / (1 + lambda_)


def sdmgrad(
    lambda_: float = 0.3,
    *,
    mode: Literal["exact", "stochastic"] = "exact",
    lr: float = 10.0,
    momentum: float = 0.5,
    n_iter: int = 20,
) -> Balancer:
    """Direction-oriented descent: between the min-norm direction, which opposes no task, and the mean gradient.

    Try it when MGDA follows small gradients too closely and the mean ignores a task: lambda moves between the two.

        w in argmin over the simplex of ||J^T w + lambda g_0||^2 / 2,   d = (J^T w + lambda g_0) / (1 + lambda)

    Args:
        lambda_: pull towards the mean, >= 0; 0 is MGDA.
        mode: "exact" (default): the solution for the gradients of one batch. "stochastic": the paper's algorithm, with
            three independent batches per step: two for the weights, which are remembered, one for the direction.
        lr: step size of the inner descent of "stochastic", after the products are divided by the square of the mean
            gradient length; default 10, that of the official code. With it the descent does not converge in general.
        momentum: of the inner descent, in [0, 1).
        n_iter: number of inner steps.

    Returns:
        the balancer.

    Raises:
        BalanceError: an argument out of range; in a step of "stochastic", fewer than three batches.

    Cost:
        K backward passes through the shared part for each batch; K times its parameters in memory for each.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the exact form is not in it. The official code also multiplies the direction by K.

    Source:
        Xiao, Ban, Ji, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms", NeurIPS
        2023, arXiv 2305.18409. Compared with TorchJD 0.18.0.

    Example:
        >>> sdmgrad(0.0).weights(torch.diag(torch.tensor([1.0, 3.0])))  # MGDA
        tensor([0.7500, 0.2500])
    """
    if not lambda_ >= 0:
        raise BalanceError(f"sdmgrad(): lambda_ must not be negative, found {lambda_!r}")
    if mode == "exact":
        return chain(DirectedMinNorm(lambda_))
    if mode != "stochastic":
        raise BalanceError(f"sdmgrad(): mode must be 'exact' or 'stochastic', found {mode!r}")
    if not lr > 0 or not 0 <= momentum < 1:
        raise BalanceError(f"sdmgrad(): expected lr > 0 and momentum in [0, 1), found {lr!r} and {momentum!r}")
    if isinstance(n_iter, bool) or not isinstance(n_iter, int) or n_iter < 1:
        raise BalanceError(f"sdmgrad(): n_iter is a whole number >= 1, found {n_iter!r}")
    return chain(DirectedMinNormSteps(lambda_, lr, momentum, n_iter))
