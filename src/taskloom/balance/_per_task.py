"""Numbers that the user chooses for tasks: one for all, one per task in order, or by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from taskloom.balance.flow import task_names
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["Numbers", "PerTask"]

Numbers = float | Mapping[str, float] | Sequence[float]


class PerTask(nn.Module):
    """The numbers as a buffer in the order of the tasks. Not in the state: they are an argument of the method.

    Args:
        given: what the user wrote.
        what: name of the method and the argument, for messages.
        low: smallest allowed number.
        high: largest allowed number.

    Example:
        >>> leak = PerTask({"a": 0.0, "b": 0.5}, what="graddrop(): leak", low=0.0, high=1.0)
        >>> leak.bind(["b", "a"])
        >>> leak.at(["b", "a"], torch.ones(2))
        tensor([0.5000, 0.0000])
    """

    values: Tensor

    def __init__(self, given: Numbers, *, what: str, low: float = -math.inf, high: float = math.inf) -> None:
        super().__init__()
        self.given = given
        self.what = what
        self.tasks: tuple[str, ...] = ()
        numbers = [given] if isinstance(given, int | float) else _listed(given)
        bad = [number for number in numbers if not (math.isfinite(number) and low <= number <= high)]
        if bad or not numbers:
            bounds = f"between {low:g} and {high:g}" if math.isfinite(low) or math.isfinite(high) else "that are finite"
            raise BalanceError(f"{what}: found {bad[0] if bad else given!r}; expected numbers {bounds}")
        self.register_buffer("values", torch.tensor(numbers, dtype=torch.float64), persistent=False)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Put the numbers in the order of the tasks and check that every task has one."""
        names = task_names(tasks)
        if isinstance(self.given, int | float):
            ordered = [float(self.given)] * len(names)
        elif isinstance(self.given, Mapping):
            for name in self.given:
                if name not in names:
                    raise BalanceError(f"{self.what}: there is no task {name!r}.{nearest(name, names)}")
            missing = [name for name in names if name not in self.given]
            if missing:
                raise BalanceError(f"{self.what}: nothing for the tasks {missing}; give every task a number")
            ordered = [float(self.given[name]) for name in names]
        else:
            if len(self.given) != len(names):
                raise BalanceError(
                    f"{self.what}: {len(self.given)} numbers for {len(names)} tasks {list(names)}; give one per task"
                )
            ordered = _listed(self.given)
        self.values = torch.tensor(ordered, dtype=torch.float64, device=self.values.device)
        self.tasks = names

    def at(self, tasks: Sequence[str], like: Tensor) -> Tensor:
        """The numbers of the tasks of a step, (K,), in the dtype of ``like``."""
        values = self.values.to(like)
        if isinstance(self.given, int | float):
            return values[:1].expand(len(tasks))
        if self.tasks and tuple(tasks) != self.tasks:
            unknown = [task for task in tasks if task not in self.tasks]
            if unknown:
                raise BalanceError(f"{self.what}: nothing for the tasks {unknown}; bound are {list(self.tasks)}")
            return values[[self.tasks.index(task) for task in tasks]]
        if len(values) != len(tasks):
            raise BalanceError(f"{self.what}: {len(values)} numbers for {len(tasks)} tasks {list(tasks)}")
        return values


def _listed(given: Mapping[str, float] | Sequence[float]) -> list[float]:
    return [float(number) for number in (given.values() if isinstance(given, Mapping) else given)]
