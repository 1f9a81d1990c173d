"""The link that looks at the gradients from time to time; ``every()`` makes it, and methods that offer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance.base import Balancer, HeadGradient, Link, Need
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Every"]


class Every(Link):
    """Runs a balancer at every k-th step (see :func:`taskloom.every`)."""

    reduces: ClassVar[bool] = True
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    stored: Tensor

    def __init__(self, interval: int, balancer: Balancer) -> None:
        super().__init__()
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise BalanceError(f"every(): the interval must be a whole number of steps >= 1, found {interval!r}")
        if Need.ROWS in balancer.needs:
            raise BalanceError(f"every(): {balancer!r} makes a direction, not weights; there is nothing to keep")
        if next(balancer.parameters(), None) is not None or any(link.holds_tasks for link in balancer):
            raise BalanceError(f"every(): {balancer!r} learns at every step; put every() around the other links only")
        self.interval = interval
        self.balancer = balancer

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """What the balancer inside needs when it runs."""
        return self.balancer.needs

    def needs_at(self, step: int) -> Need:
        """Nothing, except at every k-th step."""
        return self.balancer.needs if step % self.interval == 0 else Need.NOTHING

    @property
    def head_gradient(self) -> HeadGradient | None:  # type: ignore[override]
        """As the balancer inside."""
        return self.balancer.head_gradient

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Make room for one weight per task."""
        super().bind(tasks)
        self.balancer.bind(tasks)
        self.register_buffer("stored", torch.ones(len(self.tasks), dtype=torch.float64))

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return self.balancer.draw_shape(n_tasks)

    def draw(self, n_tasks: int, *, step: int = 0, position: int = 0) -> Tensor | None:
        return self.balancer.draw(n_tasks, step=step, position=position)

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        return self.balancer.select_draws(draws, positions)

    def reset(self) -> None:
        self.balancer.reset()
        if self.tasks:
            self.stored.fill_(1.0)

    def forward(self, flow: Flow) -> Flow:
        positions = self.positions(flow.signals.tasks)
        if flow.signals.step % self.interval == 0:
            after = self.balancer(flow)
            row = after.mix  # (1, S) @ (S, K) already multiplied
            made = row[0].detach().to(self.stored)
            kept = self.stored if positions is None else self.stored[positions]
            if flow.signals.active is not None:  # absent tasks keep what they have
                made = torch.where(flow.signals.active.to(made.device), made, kept)
            if positions is None:
                self.stored.copy_(made)
            else:
                self.stored[positions] = made
            return flow.becomes(mix=row, falls_back=after.falls_back)
        stored = self.stored if positions is None else self.stored[positions]
        return flow.becomes(mix=stored.to(flow.mix).unsqueeze(0))

    def __repr__(self) -> str:
        return f"every({self.interval}, {self.balancer!r})"
