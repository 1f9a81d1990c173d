"""State with one entry per task, at steps that may lack some of the tasks.

A step can lack a task in two ways: it does not name it (then the bound tasks have other positions), or it marks it
absent (``Signals.active``, which keeps shapes equal over ranks). The entries of absent tasks stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.balance._link import Link
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["Entries", "presence", "present", "uniform"]


def present(flow: Flow) -> Tensor:
    """Which rows belong to tasks that are there, bool (S,); all of them once links have mixed other numbers of rows."""
    found = presence(flow)
    return torch.ones(flow.n_rows, dtype=torch.bool, device=flow.mix.device) if found is None else found


def presence(flow: Flow) -> Tensor | None:
    """The same; None where all are there."""
    active = flow.signals.active
    if active is None or flow.n_rows != flow.signals.n_tasks:
        return None
    return active.to(flow.mix.device)


def uniform(is_there: Tensor, like: Tensor) -> Tensor:
    """Equal numbers that sum to 1 over the rows that are there, shape (S,)."""
    there = is_there.to(like)
    return there / there.sum().clamp(min=1)


@dataclass(frozen=True)
class Entries:
    """Which entries of a link's state a step is about.

    Args:
        positions: where the tasks of the step are among the bound ones; None when they are the same.
        is_there: which of them this batch has, bool (S,).
    """

    positions: list[int] | None
    is_there: Tensor

    @classmethod
    def of(cls, link: Link, flow: Flow) -> Entries:
        """The entries of a step.

        Raises:
            BalanceError: the link is not bound, a task is unknown, or rows are no longer one per task.
        """
        if not link.tasks:
            raise BalanceError(
                f"{link!r} holds one entry per task and does not know the tasks: call balancer.bind(tasks) before the "
                "first step"
            )
        if flow.n_rows != flow.signals.n_tasks:
            raise BalanceError(
                f"{link!r} holds one entry per task, found {flow.n_rows} rows for {flow.signals.n_tasks} tasks; put it "
                "before the links that change the number of rows"
            )
        return cls(link.positions(flow.signals.tasks), present(flow))

    def take(self, state: Tensor) -> Tensor:
        """Entries (S, ...) of a state (K, ...), on the device of the step."""
        chosen = state if self.positions is None else state[self.positions]
        return chosen.to(self.is_there.device)

    @torch.no_grad()
    def put(self, state: Tensor, values: Tensor, where: Tensor | None = None) -> None:
        """Write entries (S, ...) of tasks that are there; of those only where ``where`` (S,) or () is true."""
        chosen = self.is_there if where is None else self.is_there & where
        chosen = chosen.reshape(-1, *[1] * (state.ndim - 1))
        written = torch.where(chosen, values, self.take(state)).to(state)
        if self.positions is None:
            state.copy_(written)
        else:
            state[self.positions] = written

    # -- state that lies on the simplex -------------------------------------------------------------------------

    def take_share(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """A point of the simplex of the tasks that are there, (S,), and the share of the whole that they hold, ()."""
        values = torch.where(self.is_there, self.take(state), 0)
        share = values.sum()
        even = uniform(self.is_there, values)
        return torch.where(share > 0, values / torch.where(share > 0, share, 1), even), share

    def put_share(self, state: Tensor, point: Tensor, share: Tensor, where: Tensor) -> None:
        """Write a point of the simplex back: the tasks that are there share anew what they held together."""
        self.put(state, point * share, where)
