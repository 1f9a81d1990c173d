"""GradVac: task gradients are turned towards each other up to the similarity they usually have.

For every task i, start from ``x = g_i`` and visit the other tasks j in random order. With the target ``t_ij``, where
``cos(x, g_j) < t_ij``, ``x`` is turned towards ``g_j`` until the cosine is ``t_ij``; the target is a running mean of
the cosines that were found. ``t = 0`` throughout is PCGrad. The solver, on inner products, is
:mod:`taskloom.solvers.vaccine`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance._operators import Array, each, is_finite, operator, symmetric
from taskloom.balance.base import Balancer, Mix, chain
from taskloom.balance.flow import Flow
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import sum_
from taskloom.errors import BalanceError
from taskloom.solvers import vaccine as _vaccine
from taskloom.task import Task

__all__ = ["Vaccinate", "gradvac", "vaccinate"]


class Vaccinate(Mix):
    """Turns every row towards the others up to a remembered similarity (see :func:`vaccinate`)."""

    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    target: Tensor

    def __init__(
        self,
        beta: float,
        order: Literal["random", "ascending"],
        *,
        seed: int,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        if not 0 <= beta <= 1:
            raise BalanceError(f"gradvac(): beta is the weight of the newest similarity, in [0, 1], found {beta!r}")
        if order not in ("random", "ascending"):
            raise BalanceError(f"gradvac(): order must be 'random' or 'ascending', found {order!r}")
        self.beta = beta
        self.order = order
        self.seed = seed
        self.generator = generator

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One target per ordered pair of tasks."""
        super().bind(tasks)
        n_tasks = len(self.tasks)
        self.register_buffer("target", torch.zeros(n_tasks, n_tasks, dtype=torch.float64))

    def reset(self) -> None:
        if self.tasks:
            self.target.zero_()

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return (n_tasks, n_tasks) if self.order == "random" else None

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        gramian = flow.gramian()
        keys = torch.arange(flow.n_rows, device=gramian.device).expand(flow.n_rows, -1)
        if self.order == "random" and flow.n_rows > 1:
            assert flow.draws is not None  # Balancer checks that random numbers are there
            keys = flow.draws.to(gramian.device)
        places = entries.positions
        target = self.target if places is None else self.target[places][:, places]
        mix, target = _turned(gramian, target.to(gramian), keys.to(gramian), self.beta)
        if places is None:
            self.target.copy_(target)
        else:
            self.target[torch.tensor(places).unsqueeze(1), torch.tensor(places)] = target.to(self.target)
        return flow.combined(mix)

    def __repr__(self) -> str:
        return f"vaccinate({self.beta})" if self.order == "random" else f"vaccinate({self.beta}, {self.order!r})"


def _turn(gramian: Tensor, target: Tensor, keys: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Coefficients C (S, S) of the turned rows and the next targets (S, S)."""

    def solve(matrix: Array, before: Array, order: Array) -> tuple[Array, ...]:
        if not is_finite(matrix):
            return np.full_like(matrix, np.nan), before.copy()
        return _vaccine.vaccinate(symmetric(matrix), before, order, beta)

    mix, after = each(solve, gramian, target, keys)
    return mix, after


_turned = operator(
    "vaccinate",
    "Tensor gramian, Tensor target, Tensor keys, float beta",
    solve=_turn,
    fake=lambda gramian, target, keys, beta: (torch.empty_like(gramian), torch.empty_like(target)),
    n_results=2,
)


def vaccinate(
    beta: float = 0.01,
    order: Literal["random", "ascending"] = "random",
    *,
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> Vaccinate:
    """Link that turns each task gradient towards the others, up to the similarity that they have had on average.

    Args:
        beta: as :func:`gradvac`.
        order: as :func:`gradvac`.
        seed: as :func:`gradvac`.
        generator: as :func:`gradvac`.

    Returns:
        the link; it needs the Gramian and remembers K x K similarities.

    Raises:
        BalanceError: as :func:`gradvac`.

    Example:
        >>> chain(vaccinate(order="ascending"), sum_()).weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
        tensor([2.0000, 1.2500])
    """
    return Vaccinate(beta, order, seed=seed, generator=generator)


def gradvac(
    beta: float = 0.01,
    *,
    reduction: Literal["sum", "mean"] = "sum",
    order: Literal["random", "ascending"] = "random",
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> Balancer:
    """Gradient vaccine: gradients that agree less than usual are turned until they agree as much as usual.

    Try it when tasks agree in general and differ from batch to batch, as in translation of related languages. It acts
    also on gradients that do not conflict, where PCGrad does nothing.

        d = sum_i x_i,   x_i = g_i turned towards every g_j with cos(x_i, g_j) < t_ij,   t_ij a running mean of cosines

    Args:
        beta: weight of the newest cosine in the running means, in [0, 1]; default 0.01. With 0 it is PCGrad.
        reduction: "sum" (default, the paper's) or "mean" of the turned gradients.
        order: in which order each task visits the others: "random" (default, the paper's) or "ascending".
        seed: seed of the random orders; the same on all ranks.
        generator: source of random numbers instead of the seed; its state is yours to save.

    Returns:
        ``chain(vaccinate(beta), sum_())``.

    Raises:
        BalanceError: beta out of range, an unknown reduction or order.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; K^3 small operations.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        one similarity per pair for all shared parameters together; the paper also keeps them per layer, which is
        ``blockwise(Blocks.per_layer(encoder), gradvac())``. A zero gradient turns nothing and is not remembered.

    Source:
        Wang, Tsvetkov, Firat, Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
        Multilingual Models", ICLR 2021, arXiv 2010.05874. Compared with TorchJD 0.18.0.

    Example:
        >>> gradvac().weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))  # the first step is that of PCGrad
        tensor([2.0000, 1.2500])
    """
    if reduction not in ("sum", "mean"):
        raise BalanceError(f"gradvac(): reduction must be 'sum' or 'mean', found {reduction!r}")
    return chain(vaccinate(beta, order, seed=seed, generator=generator), sum_() if reduction == "sum" else mean())
