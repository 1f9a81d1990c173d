"""A balancer that looks at the gradients of the features at the cut instead of those of the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from taskloom.balance.base import Balancer, HeadGradient, Link, Need, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["AtFeatures", "at_features"]


class AtFeatures(Link):
    """Runs a balancer on feature gradients (see :func:`at_features`)."""

    reduces: ClassVar[bool] = True
    looks_at_features: ClassVar[bool] = True

    def __init__(self, balancer: Balancer) -> None:
        super().__init__()
        if not isinstance(balancer, Balancer) or not balancer.needs & (Need.GRAMIAN | Need.ROWS):
            raise BalanceError(f"at_features(): {balancer!r} does not look at gradients; use it as it is")
        if balancer.needs & (Need.LAST_LAYER | Need.CROSS):
            raise BalanceError(f"at_features(): {balancer!r} looks at parameters; it has no form for features")
        self.balancer = balancer

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """What the balancer inside needs."""
        return self.balancer.needs

    def needs_at(self, step: int) -> Need:
        return self.balancer.needs_at(step)

    @property
    def holds_tasks(self) -> bool:  # type: ignore[override]
        """As the balancer inside."""
        return self.balancer.holds_state_of_tasks

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """As the balancer inside."""
        return self.balancer.remembers

    @property
    def head_gradient(self) -> HeadGradient | None:  # type: ignore[override]
        """As the balancer inside."""
        return self.balancer.head_gradient

    def bind(self, tasks: Sequence[Task | str]) -> None:
        super().bind(tasks)
        self.balancer.bind(tasks)

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return self.balancer.draw_shape(n_tasks)

    def draw(self, n_tasks: int, *, step: int = 0, position: int = 0) -> Tensor | None:
        return self.balancer.draw(n_tasks, step=step, position=position)

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        return self.balancer.select_draws(draws, positions)

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        self.balancer.check(tasks, losses)

    @property
    def observes(self) -> bool:
        """As the balancer inside."""
        return self.balancer.observes

    def observe(self, losses: Tensor) -> None:
        self.balancer.observe(losses)

    def end_epoch(self) -> None:
        self.balancer.end_epoch()

    def reset(self) -> None:
        self.balancer.reset()

    def forward(self, flow: Flow) -> Flow:
        decided: Flow = self.balancer(flow)
        return decided

    def __repr__(self) -> str:
        return f"at_features({self.balancer!r})"


def at_features(balancer: Balancer) -> Balancer:
    """Let a gradient method look at the features that all tasks read: one pass through the shared part for any K.

    Not the method itself: products of feature gradients stand for those of the parameters. Weights agree in sign with
    those of the exact method more often than in size. The model needs a cut, and tasks that read the same samples.

        w = w(G_Z),   G_Z = z z^T,   z_k = d l_k / d Z;    d = (dZ/dtheta)^T sum_k w_k z_k

    Args:
        balancer: a method that looks at the Gramian or at the gradients themselves.

    Returns:
        ``chain(at_features(...))``; :func:`taskloom.balance` measures at the forks of the forward pass, which has to
        run inside ``taskloom.nn.fork.gates()``. :func:`taskloom.fit` does that.

    Raises:
        BalanceError: a balancer that does not look at gradients, or that looks at the last layer or several batches.

    Cost:
        one backward pass through the heads and one through the shared part, two through the heads in all.

    Distributed:
        the Gramians of the ranks are added, because every rank has features of its own samples.

    Source:
        Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, arXiv 1810.04650 (MGDA-UB),
        section 3.2.

    Example:
        >>> import taskloom as tl
        >>> import torch
        >>> at_features(tl.pcgrad()).weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
        tensor([2.0000, 1.2500])
    """
    return chain(AtFeatures(balancer))
