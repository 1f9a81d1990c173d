"""A chain of links, run as one: what it needs, which tasks it knows, its random numbers and its state."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskloom.balance._checks import require
from taskloom.balance._diagnostics import Diagnostics
from taskloom.balance._draws import size_of, split_draws
from taskloom.balance._link import HeadGradient, Link, Scale
from taskloom.balance.flow import Combination, Flow, Need, Rows, Signals, task_names
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Chain", "anonymous"]


class Chain(Link):
    """Links in order. Users see it as :class:`taskloom.balance.base.Balancer`.

    Args:
        links: the links.
    """

    holds_tasks: ClassVar[bool] = False

    def __init__(self, links: Iterable[Link]) -> None:
        super().__init__()
        self.links = nn.ModuleList(links)
        self.n_steps = 0
        self.n_draws = 0
        self.diagnostics = Diagnostics()

    def __iter__(self) -> Iterator[Link]:
        return iter(self.links._modules.values())  # type: ignore[arg-type]  # the same as over links, in less time

    # -- what it is -------------------------------------------------------------------------------------------

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """What the links need, together."""
        return functools.reduce(operator.or_, (link.needs for link in self), Need.NOTHING)

    def needs_at(self, step: int) -> Need:
        """What is needed at one step; less than :attr:`needs` where a link only looks from time to time."""
        return functools.reduce(operator.or_, (link.needs_at(step) for link in self), Need.NOTHING)

    @property
    def needs_gramian(self) -> bool:
        """True when losses are not enough: per-task gradients have to be computed."""
        return bool(self.needs & ~Need.LOSSES)

    @property
    def remembers(self) -> bool:  # type: ignore[override]
        """True when a link's next answer depends on this step."""
        return any(link.remembers for link in self)

    @property
    def looks_at_features(self) -> bool:  # type: ignore[override]
        """True when a link's Gramian is that of the features at the cut."""
        return any(link.looks_at_features for link in self)

    @property
    def n_batches(self) -> int:  # type: ignore[override]
        """How many independent batches one step looks at."""
        return max(link.n_batches for link in self)

    @property
    def learns_from_first(self) -> bool:  # type: ignore[override]
        """True when the step is made of the first of several batches."""
        return any(link.learns_from_first for link in self)

    @property
    def is_constant(self) -> bool:  # type: ignore[override]
        """True when the weights are the same in every step that has the same tasks."""
        return all(link.is_constant for link in self)

    @property
    def reduces(self) -> bool:  # type: ignore[override]
        """True when one row is left: a link reduces, or every link only rescales (then the rows are summed)."""
        return any(link.reduces for link in self) or all(isinstance(link, Scale) for link in self)

    @property
    def head_gradient(self) -> HeadGradient:  # type: ignore[override]
        """Which gradient heads get unless the caller says otherwise: that of the method's paper."""
        return "unweighted" if any(link.head_gradient == "unweighted" for link in self) else "weighted"

    @property
    def holds_state_of_tasks(self) -> bool:
        """True when a link holds one entry per task, so that the balancer has to know the tasks."""
        return any(link.holds_state_of_tasks if isinstance(link, Chain) else link.holds_tasks for link in self)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Tell the balancer its tasks, once, before the optimiser is made.

        Args:
            tasks: all tasks that can occur, as :class:`taskloom.Task` or names. A step may have fewer.

        Raises:
            BalanceError: a name occurs twice, or the balancer holds values of other tasks.
        """
        names = task_names(tasks)
        if len(set(names)) < len(names) or not names:
            raise BalanceError(f"expected distinct task names, found {list(names)}; give every task its own name")
        if self.tasks == names:
            return
        if self.tasks and self.holds_state_of_tasks:
            raise BalanceError(
                f"this balancer holds values of the tasks {list(self.tasks)}, found {list(names)}; make a new balancer "
                "for other tasks"
            )
        self.tasks = names
        for link in self:
            link.bind(tasks)

    # -- one step ---------------------------------------------------------------------------------------------

    def forward(self, flow: Flow) -> Flow:
        """Run the links in order."""
        parts = split_draws(self, flow.draws, flow.signals.n_tasks)
        for link, part in zip(self, parts, strict=True):
            flow = link(flow if part is flow.draws else replace(flow, draws=part))
        return flow

    def combine(
        self,
        losses: Tensor,
        gramian: Tensor | None = None,
        *,
        active: Tensor | None = None,
        draws: Tensor | None = None,
        tasks: Sequence[str] | None = None,
        rows: Rows | None = None,
        last_layer: Tensor | None = None,
        cross: Tensor | None = None,
        step: int = 0,
    ) -> Combination:
        """Decide one step. A pure function of its arguments and the links' state; runs under ``torch.func.vmap``.

        Args:
            losses: shape (K,); 0 for an absent task.
            gramian: shape (K, K), or None if the chain does not need it.
            active: bool (K,), False for absent tasks; None when all are there.
            draws: what :meth:`draw` returned; only for randomised links.
            tasks: names of the K tasks; default: all bound ones.
            rows: the task gradients, for links that need them.
            last_layer: inner products (K, K) of the gradients of the last shared layer, for links that need them.
            cross: inner products (K, K) between two independent batches, for links that need them.
            step: number of steps made before this one.

        Returns:
            weights, head weights, penalty and, for row rules, the direction.

        Raises:
            BalanceError: something that a link needs is missing, or the chain does not end in one row.
        """
        names = tuple(tasks) if tasks is not None else self.tasks or anonymous(losses.shape[0])
        signals = Signals(names, losses, gramian, rows, active, last_layer, cross, step)
        require(self, self, signals, draws)
        flow = self(Flow.start(signals, draws))
        if flow.n_rows > 1 and all(isinstance(link, Scale) for link in self):
            flow = flow.becomes(mix=flow.mix.sum(0, keepdim=True))  # scales alone: the weighted sum of the losses
        if flow.n_rows != 1:
            raise BalanceError(
                f"{self!r} ends with {flow.n_rows} rows, a balancer ends with one: add a reducer at the end, for "
                f"example chain({', '.join(repr(link) for link in self)}, sum_())"
            )
        weights = flow.mix.squeeze(0).detach()  # (K,)
        if flow.head.requires_grad:
            # Own parameters learn through the rescaled losses (their method's objective), not through later links.
            weights = weights + (flow.head - flow.head.detach())
        scalarises = all(isinstance(link, Scale) or link.head_gradient is None for link in self)
        head = torch.ones_like(flow.head) if scalarises else flow.head.detach()
        if active is not None:
            weights, head = weights * active.to(weights), head * active.to(head)
        wide = torch.promote_types(losses.dtype, torch.float32)
        return Combination(weights.to(wide), head.to(wide), flow.penalty.to(wide), flow.direction, flow.falls_back)

    def draw(self, n_tasks: int, *, step: int | None = None, position: int = 0) -> Tensor | None:
        """The uniform random numbers of the next step, for :meth:`combine`.

        Args:
            n_tasks: number of bound tasks K.
            step: draw the numbers of this step; default: of the next one, and count it.
            position: tells equal links apart; leave it.

        Returns:
            what the randomised link uses, float64; several randomised links: all their numbers, flat; None if no link
            is random. The same on every rank, since it depends on the seed and the number of draws alone.
        """
        if step is None:
            step, self.n_draws = self.n_draws, self.n_draws + 1
        parts = [link.draw(n_tasks, step=step, position=place) for place, link in enumerate(self)]
        drawn = [part for part in parts if part is not None]
        if len(drawn) < 2:
            return drawn[0] if drawn else None
        return torch.cat([part.reshape(-1) for part in drawn])

    def draw_shape(self, n_tasks: int) -> tuple[int, ...] | None:
        shapes = [shape for link in self if (shape := link.draw_shape(n_tasks)) is not None]
        if len(shapes) < 2:
            return shapes[0] if shapes else None
        return (sum(size_of(shape) for shape in shapes),)

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        parts = split_draws(self, draws, len(self.tasks))
        kept = [link.select_draws(part, positions) for link, part in zip(self, parts, strict=True) if part is not None]
        return kept[0] if len(kept) == 1 else torch.cat([part.reshape(-1) for part in kept])

    # -- state ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Return to the state before the first step (a generator that was given is left as it is)."""
        self.n_steps = self.n_draws = 0
        self.diagnostics = Diagnostics()
        for link in self:
            link.reset()

    def observe(self, losses: Tensor) -> None:
        for link in self:
            link.observe(losses)

    @property
    def observes(self) -> bool:
        """True when a link has to be told the losses after the step."""
        return any(link.observes for link in self)

    def end_epoch(self) -> None:
        """Tell the links that an epoch of training is over. :func:`taskloom.fit` does it; call it in your own loop."""
        for link in self:
            link.end_epoch()

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        for link in self:
            link.check(tasks, losses)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups of the balancer's own parameters; empty for most methods.

        They have their own learning rate and no weight decay, which would pull them to fixed weights::

            torch.optim.AdamW([{"params": model.parameters()}, *balancer.parameter_groups()], lr=1e-3)

        Returns:
            dictionaries with "params", "lr" and "weight_decay".

        Raises:
            BalanceError: the balancer will have parameters but does not know its tasks yet.
        """
        if self.holds_state_of_tasks and not self.tasks:
            raise BalanceError(f"{self!r} does not know its tasks yet; call balancer.bind(tasks) first")
        return [group for link in self for group in link.parameter_groups()]

    @property
    def n_skipped(self) -> int:
        """Number of steps that were left out because something was not finite."""
        return self.diagnostics.n_skipped

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.n_steps, self.n_draws, self.n_skipped, self.diagnostics.n_fallbacks])

    def set_extra_state(self, state: Tensor) -> None:
        self.n_steps, self.n_draws, n_skipped, n_fallbacks = (int(count) for count in state)
        self.diagnostics = Diagnostics(n_skipped=n_skipped, n_fallbacks=n_fallbacks)

    def __repr__(self) -> str:
        return f"chain({', '.join(repr(link) for link in self)})"


@functools.lru_cache(maxsize=64)
def anonymous(n_tasks: int) -> tuple[str, ...]:
    """Names of tasks of which only the number is known."""
    return tuple(f"task {position}" for position in range(n_tasks))
