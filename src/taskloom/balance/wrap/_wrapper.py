"""Base of links that have balancers inside: they ask them everything that a chain can be asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from taskloom.balance._draws import split_draws
from taskloom.balance.base import Balancer, HeadGradient, Link, Need, Scale
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Wrapper"]


class Wrapper(Link):
    """A link around balancers; it leaves one row.

    Args:
        name: name of the wrapper in messages.
        balancers: what it may run.
    """

    reduces: ClassVar[bool] = True

    def __init__(self, name: str, *balancers: Balancer) -> None:
        super().__init__()
        for balancer in balancers:
            if not isinstance(balancer, Balancer):
                raise BalanceError(f"{name}(): expected a balancer such as equal(), found {balancer!r}")
            if not balancer.reduces:
                raise BalanceError(f"{name}(): {balancer!r} does not end in one row; add a reducer such as sum_()")
        # never run as a chain: it answers for all of them
        self.inner = Balancer(balancers)

    def run(self, position: int, flow: Flow) -> Flow:
        """The flow after one of the balancers, with one row; ``flow.draws`` are those of all."""
        balancer = self.inner.links[position]
        assert isinstance(balancer, Balancer)
        after: Flow = balancer(replace(flow, draws=self.draws_of(position, flow)))
        if after.n_rows > 1 and all(isinstance(link, Scale) for link in balancer):
            return after.becomes(mix=after.mix.sum(0, keepdim=True), is_diagonal=after.is_diagonal)
        if after.n_rows != 1:
            raise BalanceError(f"{balancer!r} ends with {after.n_rows} rows; add a reducer such as sum_()")
        return after

    def draws_of(self, position: int, flow: Flow) -> Tensor | None:
        """The random numbers of one of the balancers."""
        return split_draws(self.inner, flow.draws, flow.signals.n_tasks)[position]

    # -- what the balancers inside say ------------------------------------------------------------------------

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """What the balancers inside need, together."""
        return self.inner.needs

    def needs_at(self, step: int) -> Need:
        """What they need at one step, together."""
        return self.inner.needs_at(step)

    @property
    def head_gradient(self) -> HeadGradient | None:  # type: ignore[override]
        """What the balancers inside want; None when no link of theirs has a say."""
        links = [link for balancer in self.inner if isinstance(balancer, Balancer) for link in balancer]
        has_say = any(link.head_gradient is not None and not isinstance(link, Scale) for link in links)
        return self.inner.head_gradient if has_say else None

    @property
    def holds_tasks(self) -> bool:  # type: ignore[override]
        """True when a balancer inside does."""
        return self.inner.holds_state_of_tasks

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """True when a balancer inside does."""
        return self.inner.remembers

    @property
    def n_batches(self) -> int:  # type: ignore[override]
        """As many as the balancer inside that looks at most."""
        return self.inner.n_batches

    @property
    def learns_from_first(self) -> bool:  # type: ignore[override]
        """True when a balancer inside does."""
        return self.inner.learns_from_first

    @property
    def looks_at_features(self) -> bool:  # type: ignore[override]
        """True when a balancer inside does."""
        return self.inner.looks_at_features

    @property
    def observes(self) -> bool:
        """True when a balancer inside does."""
        return self.inner.observes

    def bind(self, tasks: Sequence[Task | str]) -> None:
        super().bind(tasks)
        self.inner.bind(tasks)

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        return self.inner.draw_shape(n_tasks)

    def draw(self, n_tasks: int, *, step: int = 0, position: int = 0) -> Tensor | None:
        return self.inner.draw(n_tasks, step=step, position=position)

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        return self.inner.select_draws(draws, positions)

    def reset(self) -> None:
        self.inner.reset()

    def observe(self, losses: Tensor) -> None:
        self.inner.observe(losses)

    def end_epoch(self) -> None:
        self.inner.end_epoch()

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        self.inner.check(tasks, losses)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return self.inner.parameter_groups()
