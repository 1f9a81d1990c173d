"""The link that looks at the gradients from time to time; ``every()`` makes it, and methods that offer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries
from taskloom.balance.base import Balancer, Need
from taskloom.balance.flow import Flow
from taskloom.balance.wrap._wrapper import Wrapper
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Every"]


class Every(Wrapper):
    """Runs a balancer at every k-th step (see :func:`taskloom.every`)."""

    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    stored: Tensor  # (K,) weights
    stored_head: Tensor  # (K,) factors of unweighted heads

    def __init__(self, interval: int, balancer: Balancer) -> None:
        super().__init__("every", balancer)
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise BalanceError(f"every(): the interval must be a whole number of steps >= 1, found {interval!r}")
        if Need.ROWS in balancer.needs:
            raise BalanceError(f"every(): {balancer!r} makes a direction, not weights; there is nothing to keep")
        if next(balancer.parameters(), None) is not None or any(link.holds_tasks for link in balancer):
            raise BalanceError(f"every(): {balancer!r} learns at every step; put every() around the other links only")
        self.interval = interval

    def needs_at(self, step: int) -> Need:
        """Nothing, except at every k-th step."""
        return self.inner.needs_at(step) if step % self.interval == 0 else Need.NOTHING

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Make room for one weight per task."""
        super().bind(tasks)
        for name in ("stored", "stored_head"):
            self.register_buffer(name, torch.ones(len(self.tasks), dtype=torch.float64))

    def reset(self) -> None:
        super().reset()
        if self.tasks:
            self.stored.fill_(1.0)
            self.stored_head.fill_(1.0)

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        if flow.signals.step % self.interval:
            weights, head = (entries.take(stored).to(flow.mix).clone() for stored in (self.stored, self.stored_head))
            return flow.becomes(mix=weights.unsqueeze(0), head=head)
        after = self.run(0, flow)
        entries.put(self.stored, after.mix[0].detach())
        entries.put(self.stored_head, after.head.detach())
        return after

    def __repr__(self) -> str:
        return f"every({self.interval}, {self.inner.links[0]!r})"
