"""A balancer for some of the tasks; the others keep weight 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._draws import split_draws
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow, Rows, Signals, task_names
from taskloom.balance.wrap._wrapper import Wrapper
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["Only", "only"]


class Only(Wrapper):
    """Runs a balancer on some of the tasks (see :func:`only`)."""

    holds_tasks: ClassVar[bool] = True

    def __init__(self, tasks: Sequence[Task | str], balancer: Balancer) -> None:
        super().__init__("only", balancer)
        self.names = task_names([tasks] if isinstance(tasks, str) else tasks)
        if not self.names or len(set(self.names)) < len(self.names):
            raise BalanceError(f"only(): expected distinct names of tasks, found {list(self.names)}")

    def bind(self, tasks: Sequence[Task | str]) -> None:
        known = task_names(tasks)
        for name in self.names:
            if name not in known:
                raise BalanceError(f"only(): there is no task {name!r}.{nearest(name, known)}")
        self.tasks = known
        self.inner.bind([task for task, name in zip(tasks, known, strict=True) if name in self.names])

    def _among(self, tasks: Sequence[str]) -> list[int]:
        """Positions of the tasks of the balancer inside among those of a step."""
        return [position for position, task in enumerate(tasks) if task in self.names]

    # -- what the balancer inside is told: its own tasks only -------------------------------------------------

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        kept = self._among(tasks)
        self.inner.check([tasks[position] for position in kept], losses[kept])

    def observe(self, losses: Tensor) -> None:
        self.inner.observe(losses[self._among(self.tasks)])

    def select_draws(self, draws: Tensor, positions: Sequence[int]) -> Tensor:
        # drawn for all tasks, so that it does not matter which of them the balancer inside has
        return _selected(self.inner, draws, len(self.tasks), positions)

    # -- one step ---------------------------------------------------------------------------------------------

    def forward(self, flow: Flow) -> Flow:
        if not (flow.is_diagonal and flow.n_rows == flow.signals.n_tasks):
            raise BalanceError(f"{self!r} acts on tasks; put it before the links that combine them")
        self.positions(flow.signals.tasks)  # raises on an unknown task
        row, kept = flow.mix.diagonal(), self._among(flow.signals.tasks)
        if not kept:
            return flow.becomes(mix=row.unsqueeze(0), is_diagonal=True)
        index = torch.tensor(kept, device=row.device)
        after = self.run(0, self._part(flow, index, kept))
        direction = after.direction
        if direction is not None:
            assert flow.signals.rows is not None
            matrix = flow.signals.rows.matrix()
            others = row.detach().index_fill(0, index, 0.0)
            direction = direction + others.to(matrix) @ matrix
        return flow.becomes(
            mix=row.index_copy(0, index, after.mix[0]).unsqueeze(0),
            penalty=after.penalty,
            head=flow.head.index_copy(0, index, after.head),
            is_diagonal=after.is_diagonal,
            direction=direction,
            falls_back=after.falls_back,
        )

    def _part(self, flow: Flow, index: Tensor, kept: list[int]) -> Flow:
        """The flow of the tasks at these positions, as if there were no others."""
        given = flow.signals

        def square(matrix: Tensor | None) -> Tensor | None:
            return None if matrix is None else matrix.index_select(0, index).index_select(1, index)

        signals = Signals(
            tasks=tuple(given.tasks[position] for position in kept),
            losses=given.losses.index_select(0, index),
            gramian=square(given.gramian),
            rows=None if given.rows is None else Rows(tuple(block[kept] for block in given.rows)),
            active=None if given.active is None else given.active.index_select(0, index),
            last_layer=square(given.last_layer),
            cross=square(given.cross),
            step=given.step,
            epoch=given.epoch,
        )
        draws = None if flow.draws is None else _selected(self.inner, flow.draws, given.n_tasks, kept)
        part = replace(flow, signals=signals, head=flow.head.index_select(0, index), draws=draws)
        return replace(part, mix=flow.mix.index_select(0, index).index_select(1, index))

    def __repr__(self) -> str:
        return f"only({list(self.names)!r}, {self.inner.links[0]!r})"


def _selected(inner: Balancer, draws: Tensor, n_tasks: int, positions: Sequence[int]) -> Tensor:
    """The numbers of the tasks at these positions, for what draws inside, from numbers for ``n_tasks`` tasks."""
    (balancer,) = inner
    assert isinstance(balancer, Balancer)
    parts = zip(balancer, split_draws(balancer, draws, n_tasks), strict=True)
    kept = [link.select_draws(part, positions) for link, part in parts if part is not None]
    return kept[0] if len(kept) == 1 else torch.cat([part.reshape(-1) for part in kept])


def only(tasks: Sequence[Task | str], balancer: Balancer) -> Balancer:
    """Balance some of the tasks among themselves and leave the others as they are.

    Try it when auxiliary tasks should be balanced against each other while the main task keeps weight 1, or when a
    method is not defined for one of the losses.

        w_k = weight that the balancer gives to task k, if it is one of the tasks, else 1

    Args:
        tasks: names of the tasks (or Task objects) that the balancer sees.
        balancer: any balancer; it is told of these tasks only.

    Returns:
        the balancer, ``chain(only(...))``.

    Raises:
        BalanceError: no tasks, names that occur twice or (when bound) are not among those of the tasks, or a balancer
            that does not end in one row.

    Cost:
        that of the balancer inside; methods that need task gradients get them for all tasks.

    Distributed:
        as the balancer inside.

    Example:
        >>> import taskloom as tl
        >>> balancer = only(["a", "b"], tl.equal("mean"))
        >>> balancer.bind(["a", "b", "main"])
        >>> balancer.weights(torch.eye(3))
        tensor([0.5000, 0.5000, 1.0000])
    """
    return chain(Only(tasks, balancer))
