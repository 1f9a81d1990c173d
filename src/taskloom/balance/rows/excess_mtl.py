"""ExcessMTL: tasks that still have far to go count more, judged by how steep they are for their curvature.

    S_i <- S_i + g_i^2,   E_i = sum_p g_ip^2 / sqrt(S_ip + eps),   a_i <- a_i + eta E_i / E_i(0),   w = softmax(a)

``E_i`` estimates the excess risk, the loss above the best that is possible for the task, by a quadratic model with the
diagonal AdaGrad estimate of the Hessian. A loss that is large because its labels are noisy does not count for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance._row_memory import RowMemory
from taskloom.balance.base import Balancer, HeadGradient, Link, Need, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["ExcessMTL", "excess_mtl"]


class ExcessMTL(Link):
    """Multiplicative weights on relative excess risks (see :func:`excess_mtl`)."""

    needs: ClassVar[Need] = Need.ROWS
    reduces: ClassVar[bool] = True
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "weighted"

    log_weight: Tensor
    first: Tensor
    seen: Tensor

    def __init__(self, step_size: float, eps: float, warmup: int) -> None:
        super().__init__()
        if not step_size > 0:
            raise BalanceError(f"excess_mtl(): step_size must be positive, found {step_size!r}")
        if not eps > 0:
            raise BalanceError(f"excess_mtl(): eps must be positive, found {eps!r}")
        if isinstance(warmup, bool) or not isinstance(warmup, int) or warmup < 0:
            raise BalanceError(f"excess_mtl(): warmup is a number of steps >= 0, found {warmup!r}")
        self.step_size = step_size
        self.eps = eps
        self.warmup = warmup
        self.squares = RowMemory()

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One log-weight, one first excess risk and one sum of squared gradients per task."""
        super().bind(tasks)
        for name in ("log_weight", "first", "seen"):
            self.register_buffer(name, torch.zeros(len(self.tasks), dtype=torch.float64))
        self.squares.start(len(self.tasks))

    def reset(self) -> None:
        if self.tasks:
            for state in (self.log_weight, self.first, self.seen):
                state.zero_()
            self.squares.start(len(self.tasks))

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        rows = flow.rows()
        memory = self.squares.of(rows)
        squares = rows.to(memory).square()
        total = entries.take(memory) + squares
        excess = (squares / (total + self.eps).sqrt()).sum(1).to(flow.mix)  # (S,)
        moves = excess > 0  # a zero gradient says nothing about its task
        entries.put(memory, total, moves)
        first, seen = entries.take(self.first), entries.take(self.seen)
        is_first = seen <= self.warmup  # the mean over these steps is what later ones are compared with
        relative = excess / torch.where(first > 0, first, 1)
        log_weight = entries.take(self.log_weight) + torch.where(is_first, 0, self.step_size * relative)
        entries.put(self.log_weight, log_weight, moves)
        entries.put(self.first, torch.where(is_first, (first * seen + excess) / (seen + 1), first), moves)
        entries.put(self.seen, seen + 1, moves)
        held = torch.where(entries.is_there, entries.take(self.log_weight), -torch.inf)
        return flow.combined(held.softmax(0))

    def __repr__(self) -> str:
        return f"excess_mtl({self.step_size})"


def excess_mtl(step_size: float = 0.01, *, eps: float = 1e-7, warmup: int = 0) -> Balancer:
    """Tasks count by how far they are from the best they can reach, not by how large their loss is.

    Try it when some tasks have noisy labels: their losses stay large for ever, which misleads methods that follow the
    worst loss. The first step only measures; weights sum to 1.

        E_i = sum_p g_ip^2 / sqrt(S_ip + eps),   S_i = sum of g_i^2 over steps,   w_i ~ w_i exp(eta E_i / E_i(0))

    Args:
        step_size: eta > 0, how fast weights move; default 0.01.
        eps: below the root; default 1e-7.
        warmup: E(0) is the mean over the first step and this many more, during which weights do not move; default 0.

    Returns:
        the balancer.

    Raises:
        BalanceError: an argument out of range; or another number of shared parameters than in earlier steps.

    Cost:
        K backward passes through the shared part; twice K times its parameters in memory, half of it kept and saved
        with the state.

    Distributed:
        task gradients are averaged over ranks first; all ranks hold the same state.

    Differs from the paper:
        a zero gradient leaves the state of its task unchanged. E falls like 1/sqrt(t) by the growing sum alone, as in
        the paper. The official code lets weights sum to K.

    Source:
        He, Zhou, Zhang, Yun, Xu, Zeng, Chilimbi, Zhao, "Robust Multi-Task Learning with Excess Risks", ICML 2024, arXiv
        2402.02009.

    Example:
        >>> balancer = excess_mtl(1.0)
        >>> gentle, steep = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 0.1], [0.0, 1.0]])
        >>> balancer.step(gentle).weights, balancer.step(steep).weights
        (tensor([0.5000, 0.5000]), tensor([0.3527, 0.6473]))
    """
    return chain(ExcessMTL(step_size, eps, warmup))
