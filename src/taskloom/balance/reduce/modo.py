"""MoDo: a step of the weights from two independent batches, which makes it free of bias, and a step of the network.

lambda <- Pi(lambda - gamma (J_1 J_2^T lambda + rho lambda)),    d = J_3^T lambda  or  (J_1 + J_2)^T lambda / 2
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance._simplex import project
from taskloom.balance.base import Balancer, HeadGradient, Link, Need, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["MoDo", "modo"]


class MoDo(Link):
    """Weights that follow the min-norm ones by double sampling (see :func:`modo`)."""

    needs: ClassVar[Need] = Need.CROSS
    reduces: ClassVar[bool] = True
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    n_batches: ClassVar[int] = 2
    head_gradient: ClassVar[HeadGradient | None] = "weighted"

    weight: Tensor

    def __init__(self, gamma: float, rho: float) -> None:
        super().__init__()
        for name, given in (("gamma", gamma), ("rho", rho)):
            if not given >= 0:
                raise BalanceError(f"modo(): {name} must not be negative, found {given!r}")
        self.gamma = gamma
        self.rho = rho

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
        weight, share = entries.take_share(self.weight)
        moved = project(weight - self.gamma * (cross @ weight + self.rho * weight), entries.is_there)
        moves = (cross != 0).any()
        weight = torch.where(moves, moved, weight)
        entries.put_share(self.weight, weight, share, moves)
        return flow.combined(weight)

    def __repr__(self) -> str:
        return f"modo({self.gamma}, {self.rho})"


def modo(gamma: float = 1e-3, rho: float = 0.1) -> Balancer:
    """Multi-objective descent with double sampling: min-norm weights without the bias of using one batch twice.

    Try it where MGDA is wanted and batches are small. Every step looks at two independent batches, or three; weights
    move slowly and start equal.

        lambda <- Pi(lambda - gamma (J_1 J_2^T lambda + rho lambda)),   d = J_3^T lambda  or  (J_1 + J_2)^T lambda / 2

    Args:
        gamma: step size of the weights, default 1e-3. Not scale-free: with gradients 10 times larger, gamma should be
            100 times smaller.
        rho: pull of the weights towards equal ones.

    Returns:
        the balancer; give it two or three independent batches per step. The direction is made of the mean of two, or of
        the third one.

    Raises:
        BalanceError: a negative argument; in a step, fewer than two batches.

    Cost:
        K backward passes through the shared part for each batch; K times its parameters in memory for each.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        nothing.

    Source:
        Chen, Fernando, Ying, Chen, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
        Conflict-Avoidance", NeurIPS 2023, arXiv 2305.20057. Compared with TorchJD 0.18.0.

    Example:
        >>> first = second = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> modo(gamma=0.1, rho=0.0).step(first, others=[second]).weights
        tensor([0.5750, 0.4250])
    """
    return chain(MoDo(gamma, rho))
