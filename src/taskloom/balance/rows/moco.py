"""MoCo: track every task's gradient over the steps, and take the min-norm weights of what was tracked.

    Y <- Y - beta_t (Y - J),    lambda <- Pi(lambda - gamma_t (Y Y^T + rho I) lambda),    d = Y^T lambda

with ``beta_t = beta / t^sigma``, ``gamma_t = gamma / t^sigma'`` and ``Pi`` the projection on the simplex. The tracked
gradients take away the bias that weights computed from one noisy batch have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance._row_memory import RowMemory
from taskloom.balance._simplex import project
from taskloom.balance.base import Balancer, HeadGradient, Link, Need, chain
from taskloom.balance.flow import Flow, Rows
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["MoCo", "moco"]


class MoCo(Link):
    """Combines tracked gradients with weights that follow the min-norm ones (see :func:`moco`)."""

    reduces: ClassVar[bool] = True
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    weight: Tensor
    seen: Tensor

    def __init__(
        self,
        beta: float,
        beta_sigma: float,
        gamma: float,
        gamma_sigma: float,
        rho: float,
        row_scaling: Literal["loss"] | None,
    ) -> None:
        super().__init__()
        if not 0 < beta <= 1:
            raise BalanceError(f"moco(): beta is the weight of the newest gradient, in (0, 1], found {beta!r}")
        given = {"beta_sigma": beta_sigma, "gamma": gamma, "gamma_sigma": gamma_sigma, "rho": rho}
        for name, value in given.items():
            if not value >= 0:
                raise BalanceError(f"moco(): {name} must not be negative, found {value!r}")
        if row_scaling not in (None, "loss"):
            raise BalanceError(f"moco(): row_scaling must be None or 'loss', found {row_scaling!r}")
        self.beta = beta
        self.beta_sigma = beta_sigma
        self.gamma = gamma
        self.gamma_sigma = gamma_sigma
        self.rho = rho
        self.row_scaling = row_scaling
        self.tracked = RowMemory()

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """The gradients; the losses too where rows are scaled by them."""
        return Need.ROWS if self.row_scaling is None else Need.ROWS | Need.LOSSES

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One weight and one tracked gradient per task."""
        super().bind(tasks)
        n_tasks = len(self.tasks)
        self.register_buffer("weight", torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))
        self.tracked.start(n_tasks)

    def reset(self) -> None:
        if self.tasks:
            self.weight.fill_(1 / len(self.tasks))
            self.seen.zero_()
            self.tracked.start(len(self.tasks))

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        rows = flow.rows()
        memory = self.tracked.of(rows)
        wide = rows.to(memory)
        if self.row_scaling == "loss":
            norms = torch.linalg.vector_norm(wide, dim=1)
            sizes = flow.losses().to(memory) / torch.where(norms > 0, norms, 1)
            wide = sizes.unsqueeze(1) * wide
        moves = (wide != 0).any()  # all gradients zero: no step, nothing to remember
        count = self.seen.to(flow.mix) + 1
        before = entries.take(memory)
        tracked = before - (self.beta / count**self.beta_sigma).to(memory) * (before - wide)
        tracked = torch.where(entries.is_there.to(memory.device).unsqueeze(1), tracked, 0)
        weight, share = entries.take_share(self.weight)
        slope = Rows((tracked,)).gramian().to(weight) @ weight + self.rho * weight
        moved = project(weight - self.gamma / count**self.gamma_sigma * slope, entries.is_there)
        weight = torch.where(moves, moved, weight)
        entries.put(memory, tracked, moves)
        entries.put_share(self.weight, weight, share, moves)
        self.seen.copy_(torch.where(moves, count, count - 1))
        direction = torch.where(moves, weight.to(memory) @ tracked, 0)
        return flow.combined(weight, direction=direction)

    def __repr__(self) -> str:
        return f"moco(beta={self.beta}, gamma={self.gamma})"


def moco(
    beta: float = 0.5,
    *,
    beta_sigma: float = 0.5,
    gamma: float = 0.1,
    gamma_sigma: float = 0.5,
    rho: float = 0.0,
    row_scaling: Literal["loss"] | None = None,
) -> Balancer:
    """Tracked gradients with min-norm weights: multi-objective descent that is not misled by the noise of a batch.

    Try it where MGDA is too noisy: small batches, gradients that change much from step to step. The directions are
    means over steps, as with momentum; use an optimiser with little momentum of its own.

        Y <- Y - beta_t (Y - J),   lambda <- Pi(lambda - gamma_t (Y Y^T + rho I) lambda),   d = Y^T lambda

    Args:
        beta: weight of the newest gradient in what is tracked, in (0, 1].
        beta_sigma: in step t it is ``beta / t^beta_sigma``.
        gamma: step size of the weights.
        gamma_sigma: in step t it is ``gamma / t^gamma_sigma``. The step is not scale-free: with gradients 10 times
            larger, gamma should be 100 times smaller.
        rho: pull of the weights towards equal ones.
        row_scaling: "loss" gives every gradient the length of its loss before it is tracked, as LibMTL does; default:
            none.

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
        no projection of the tracked gradients on a ball. Where all gradients are zero, d = 0 and nothing is tracked.

    Source:
        Fernando, Shen, Liu, Chaudhury, Murugesan, Chen, "Mitigating Gradient Bias in Multi-objective Learning: A
        Provably Convergent Approach", ICLR 2023, arXiv 2210.12624.

    Example:
        >>> balancer = moco(gamma=1.0)
        >>> balancer.step(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).weights
        tensor([0.6875, 0.3125])
    """
    return chain(MoCo(beta, beta_sigma, gamma, gamma_sigma, rho, row_scaling))
