"""Balancers: chains of links that end in one weight per task.

    balancer = chain(project_conflicts(), sum_())

``chain`` is the whole composition: it flattens chains inside chains and runs the links in order. A paper's name
(:func:`taskloom.pcgrad`) is a function that returns its chain with the paper's defaults.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskloom.balance._checks import common_size, require, require_finite, require_jacobians
from taskloom.balance._draws import size_of, split_draws
from taskloom.balance._link import HeadGradient, Link, Mix, Reduce, RowRule, Scale
from taskloom.balance.flow import Combination, Flow, Need, Rows, Signals, task_names
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Balancer", "HeadGradient", "Link", "Mix", "Need", "Reduce", "RowRule", "Scale", "chain"]


class Balancer(Link):
    """A chain of links: what decides how the gradients of several tasks become one. Made by :func:`chain`.

    Hand it to :func:`taskloom.balance` or :func:`taskloom.fit`; or, holding gradients yourself, ask it for
    :meth:`weights` or a :meth:`direction`. It is an ``nn.Module``: it moves, saves and loads with a model.

    Args:
        links: the links, in order.

    Example:
        >>> import taskloom as tl
        >>> balancer = tl.pcgrad()
        >>> balancer
        chain(project_conflicts(), sum_())
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])  # two gradients that disagree
        >>> balancer.weights(gramian)
        tensor([2.0000, 1.2500])
    """

    holds_tasks: ClassVar[bool] = False

    def __init__(self, links: Iterable[Link]) -> None:
        super().__init__()
        self.links = nn.ModuleList(links)
        self.n_steps = 0
        self.n_draws = 0
        self.n_skipped = 0

    def __iter__(self) -> Iterator[Link]:
        for link in self.links:
            assert isinstance(link, Link)
            yield link

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
        return any(link.holds_state_of_tasks if isinstance(link, Balancer) else link.holds_tasks for link in self)

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
            flow = link(replace(flow, draws=part))
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
        names = tuple(tasks) if tasks is not None else self.tasks or _anonymous(losses.shape[0])
        signals = Signals(names, losses, gramian, rows, active, last_layer, cross, step)
        require(self, self, signals, draws)
        flow = self(replace(Flow.start(signals), draws=draws))
        if flow.n_rows > 1 and all(isinstance(link, Scale) for link in self):
            flow = flow.becomes(mix=flow.mix.sum(0, keepdim=True))  # scales alone: the weighted sum of the losses
        if flow.n_rows != 1:
            raise BalanceError(
                f"{self!r} ends with {flow.n_rows} rows, a balancer ends with one: add a reducer at the end, for "
                f"example chain({', '.join(repr(link) for link in self)}, sum_())"
            )
        present = 1.0 if active is None else active.to(flow.mix)
        # Own parameters learn through the rescaled losses (their method's objective), not through later links.
        weights = (flow.mix.squeeze(0).detach() + flow.head - flow.head.detach()) * present  # (K,)
        scalarises = all(isinstance(link, Scale) or link.head_gradient is None for link in self)
        head = torch.ones_like(flow.head) if scalarises else flow.head.detach()
        wide = torch.promote_types(losses.dtype, torch.float32)
        return Combination(weights.to(wide), (head * present).to(wide), flow.penalty.to(wide), flow.direction)

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

    # -- for those who hold a Gramian or a Jacobian -----------------------------------------------------------

    @torch.no_grad()
    def weights(self, gramian: Tensor | None, losses: Tensor | None = None, *, draws: Tensor | None = None) -> Tensor:
        """Weight of every task from inner products of gradients. One call is one step of the balancer's state.

        Args:
            gramian: G = J J^T, shape (K, K); None for chains that need only losses.
            losses: shape (K,); needed by chains that look at loss values.
            draws: uniform random numbers for randomised chains; default: drawn.

        Returns:
            w, shape (K,), in the dtype of the Gramian (of the losses if there is none), no graph.

        Raises:
            BalanceError: wrong shapes, NaN or infinity, missing losses, or a link that needs the gradients themselves.
        """
        given = gramian if gramian is not None else losses
        if given is None:
            raise BalanceError("weights() needs a Gramian (K, K) or losses (K,), found neither")
        return self._decide(gramian, losses, draws, ()).weights.to(given.dtype)

    @torch.no_grad()
    def direction(self, jacobian: Tensor, losses: Tensor | None = None, *, draws: Tensor | None = None) -> Tensor:
        """Combined gradient from the task gradients. One call is one step of the balancer's state.

        Args:
            jacobian: J, shape (K, P), one gradient per row.
            losses: shape (K,); needed by chains that look at loss values.
            draws: uniform random numbers for randomised chains; default: drawn.

        Returns:
            d, shape (P,), in the dtype of the Jacobian; the optimiser steps along -d.

        Raises:
            BalanceError: as :meth:`weights`.
        """
        found = self.step(jacobian, losses, draws=draws).direction
        assert found is not None
        return found

    @torch.no_grad()
    def step(
        self,
        jacobian: Tensor,
        losses: Tensor | None = None,
        *,
        others: Sequence[Tensor] = (),
        after: Tensor | None = None,
        draws: Tensor | None = None,
    ) -> Combination:
        """One whole step of a method with a memory: decide, then observe what the step did.

        Args:
            jacobian: J, shape (K, P), one gradient per row.
            losses: shape (K,); needed by chains that look at loss values.
            others: Jacobians (K, P) of further independent batches, for methods with ``n_batches`` > 1. Products are
                taken between the first two; the direction is made of the last one (of the mean of two).
            after: losses (K,) on the same batch after the step, for methods that look at the change.
            draws: uniform random numbers for randomised chains; default: drawn.

        Returns:
            weights (K,) and direction (P,), in the dtype of the Jacobian.

        Raises:
            BalanceError: as :meth:`weights`; or too few Jacobians.

        Example:
            >>> import taskloom as tl
            >>> balancer = tl.pcgrad()
            >>> balancer.step(torch.tensor([[1.0, 0.0], [-1.0, 1.0]])).direction
            tensor([0.5000, 1.5000])
        """
        jacobians = (jacobian, *others)
        require_jacobians(self, jacobians)
        found = self._decide(None, losses, draws, tuple(Rows((one,)) for one in jacobians))
        direction = found.direction
        if direction is None:
            direction = Rows((_made_of(jacobians),)).combine(found.weights)[0]
        if after is not None:
            self.observe(after)
        return replace(found, weights=found.weights.to(jacobian.dtype), direction=direction.to(jacobian.dtype))

    def _decide(
        self, gramian: Tensor | None, losses: Tensor | None, draws: Tensor | None, batches: tuple[Rows, ...]
    ) -> Combination:
        n_tasks = common_size(gramian, losses, batches)
        names = self.tasks if len(self.tasks) == n_tasks else _anonymous(n_tasks)
        if self.holds_state_of_tasks and not self.tasks:
            self.bind(names)
        rows = cross = None
        for one in batches:
            require_finite(names, Jacobian=one.matrix())
        if batches:
            rows = Rows((_made_of([one.matrix() for one in batches]),))
            if self.needs & (Need.GRAMIAN | Need.LAST_LAYER):
                gramian = rows.gramian()
            if self.needs & Need.CROSS:
                cross = batches[0].cross(batches[min(1, len(batches) - 1)])
        require_finite(names, Gramian=gramian, losses=losses)
        if losses is not None:
            for link in self:
                link.check(names, losses)
        elif Need.LOSSES in self.needs:
            raise BalanceError(f"{self!r} looks at loss values; pass losses= of shape ({n_tasks},)")
        if draws is None:
            draws = self.draw(n_tasks)
        if losses is None:
            like = gramian if gramian is not None else batches[0].blocks[0]
            losses = torch.zeros(n_tasks, dtype=like.dtype, device=like.device)
        step, self.n_steps = self.n_steps, self.n_steps + 1
        # whoever holds one matrix of gradients calls its parameters the layer
        return self.combine(
            losses, gramian, draws=draws, tasks=names, rows=rows, last_layer=gramian, cross=cross, step=step
        )

    # -- state ------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Return to the state before the first step (a generator that was given is left as it is)."""
        self.n_steps = self.n_draws = self.n_skipped = 0
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

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.n_steps, self.n_draws, self.n_skipped])

    def set_extra_state(self, state: Tensor) -> None:
        self.n_steps, self.n_draws, self.n_skipped = (int(count) for count in state)

    def __repr__(self) -> str:
        return f"chain({', '.join(repr(link) for link in self)})"


def chain(*links: Link) -> Balancer:
    """Compose links into a balancer; they run from left to right.

    Chains inside are flattened, and the chain of one balancer is that balancer. A chain of links that only rescale
    ends with the weighted sum; any other chain ends with a reducer such as ``sum_()`` or ``mean()``.

    Args:
        links: links or balancers.

    Returns:
        the balancer.

    Raises:
        BalanceError: no link, or something that is no link.

    Example:
        >>> import taskloom as tl
        >>> chain(tl.fixed([1.0, 2.0]), tl.pcgrad())  # weigh the losses, then resolve conflicts
        chain(scale_by([1.0, 2.0]), project_conflicts(), sum_())
    """
    if len(links) == 1 and isinstance(links[0], Balancer):
        return links[0]
    flat: list[Link] = []
    for link in links:
        if isinstance(link, Balancer):
            flat.extend(link)
        elif isinstance(link, Link):
            flat.append(link)
        else:
            raise BalanceError(
                f"chain() takes links, found {link!r}; write them as calls: chain(project_conflicts(), sum_())"
            )
    if not flat:
        raise BalanceError("chain() needs at least one link, for example chain(sum_())")
    return Balancer(flat)


def _made_of(jacobians: Sequence[Tensor]) -> Tensor:
    """The gradients that the direction is made of: the last of several batches, the mean of two."""
    return (jacobians[0] + jacobians[1]) / 2 if len(jacobians) == 2 else jacobians[-1]


def _anonymous(n_tasks: int) -> tuple[str, ...]:
    return tuple(f"task {position}" for position in range(n_tasks))
