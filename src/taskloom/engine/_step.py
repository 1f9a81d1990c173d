"""The losses of one step in the order that a balancer sees, here and averaged over ranks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.engine._inputs import read_losses
from taskloom.engine._verify import require_same_tasks
from taskloom.engine.base import ranks
from taskloom.errors import BalanceError, EngineError

__all__ = ["StepLosses", "gather", "made_of", "read_batches"]


@dataclass(frozen=True)
class StepLosses:
    """The losses of a step in the order that the balancer sees, here and averaged over ranks.

    Args:
        tasks: names.
        local: losses of this rank with their graph; None where this rank lacks the task.
        losses: (K,), averaged over ranks; with the graph of this rank when there is only one.
        active: which tasks any rank has; None when all.
    """

    tasks: tuple[str, ...]
    local: list[Tensor | None]
    losses: Tensor
    active: Tensor | None

    def present(self) -> tuple[Sequence[str], Tensor]:
        """Names and losses, without a graph, of the tasks that any rank has; the 0 of the others is no loss."""
        if self.active is None:
            return self.tasks, self.losses.detach()
        return list(compress(self.tasks, self.active.tolist())), self.losses.detach()[self.active]

    def stacked(self) -> Tensor:
        """Losses of this rank with their graph, shape (K,), 0 where it lacks a task."""
        zero = self.losses.new_zeros(())
        return torch.stack([zero if loss is None else loss.to(self.losses.dtype) for loss in self.local])


def read_batches(
    losses: Mapping[str, Tensor], independent: Sequence[Mapping[str, Tensor]], balancer: Balancer
) -> list[dict[str, Tensor]]:
    """The losses of a step on each of its independent batches, every one with the same tasks in the same order."""
    names, values = read_losses(losses)
    batches = [dict(zip(names, values, strict=True))]
    for number, others in enumerate(independent):
        found, _ = read_losses(others)
        if set(found) != set(names):
            raise EngineError(
                f"independent[{number}] has losses of the tasks {sorted(found)}, the first batch of {sorted(names)}; "
                "every batch of a step needs the same tasks"
            )
        batches.append({name: others[name] for name in names})
    if len(batches) < balancer.n_batches:
        raise BalanceError(
            f"{balancer!r} looks at {balancer.n_batches} independent batches in a step, found {len(batches)}; pass the "
            "losses of the others as independent=[...]"
        )
    return batches


def made_of(batches: Sequence[Mapping[str, Tensor]], balancer: Balancer) -> Mapping[str, Tensor]:
    """The losses that the step is made of: of the last of several batches, the mean of two, or the first."""
    if balancer.learns_from_first:
        return batches[0]
    if len(batches) == 2:
        first, second = batches
        return {name: (first[name] + second[name]) / 2 for name in first}
    return batches[-1]


def gather(losses: Mapping[str, Tensor], balancer: Balancer) -> StepLosses:
    """Put losses in the order of the balancer's tasks and average their values over ranks."""
    names, values = tuple(losses), list(losses.values())
    if not balancer.tasks and balancer.holds_state_of_tasks:
        trial = copy.deepcopy(balancer)  # if this raises, the balancer of the user stays as it is
        trial.bind(names)
        if trial.parameter_groups():
            raise BalanceError(
                f"{balancer!r} has parameters of its own that no optimiser knows yet: call balancer.bind(tasks) and "
                "give balancer.parameter_groups() to the optimiser before the first step"
            )
        balancer.bind(names)
    if balancer.tasks:
        balancer.positions(names)  # raises on an unknown task
        order = {task: position for position, task in enumerate(balancer.tasks)}
        places = sorted(range(len(names)), key=lambda place: order[names[place]])
        names, values = tuple(names[place] for place in places), [values[place] for place in places]
    dtype = values[0].dtype
    for value in values:
        dtype = torch.promote_types(dtype, value.dtype)
    local: list[Tensor | None] = [*values]
    n_ranks = ranks()
    if n_ranks == 1:
        return StepLosses(names, local, torch.stack([value.to(dtype) for value in values]), None)
    tasks = balancer.tasks or names
    if not balancer.tasks:
        require_same_tasks(tasks, values[0])
    given = dict(zip(names, values, strict=True))
    local = [given.get(task) for task in tasks]
    zero = values[0].new_zeros(())
    exchanged = torch.stack(
        [zero if loss is None else loss.detach() for loss in local]
        + [torch.full_like(zero, float(loss is not None)) for loss in local]
    ).to(torch.promote_types(dtype, torch.float32))
    torch.distributed.all_reduce(exchanged)
    means, counts = exchanged.to(dtype).chunk(2)
    return StepLosses(tasks, local, means / n_ranks, counts > 0)
