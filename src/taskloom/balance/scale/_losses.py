"""What scales by loss values share: a memory per task, absent tasks, comparable losses, logarithms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import Entries, present
from taskloom.balance._per_task import Numbers, PerTask
from taskloom.balance.base import Scale
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["ByLoss", "Comparable", "Remembering", "learnable", "require_positive", "softmax"]


class ByLoss(Scale):
    """Scale by loss values; its arguments may have one number per task, in children of type ``PerTask``."""

    method: ClassVar[str] = "this method"

    def positive(self, label: str, given: Numbers | None) -> PerTask | None:
        """An argument of positive numbers; None stays None."""
        if given is None:
            return None
        numbers = [given] if isinstance(given, int | float) else given
        named = numbers.items() if isinstance(numbers, Mapping) else enumerate(numbers)
        for name, number in named:
            if not number > 0:
                raise BalanceError(
                    f"{self.method}(): {label} of task {name!r} is {number!r}; expected positive numbers"
                )
        return self.any_number(label, given)

    def any_number(self, label: str, given: Numbers | None) -> PerTask | None:
        """An argument of finite numbers; None stays None."""
        return None if given is None else PerTask(given, what=f"{self.method}(): {label}")

    def bind(self, tasks: Sequence[Task | str]) -> None:
        for argument in self.children():
            if isinstance(argument, PerTask):
                argument.bind(tasks)
        super().bind(tasks)


class Remembering(ByLoss):
    """Scale by loss values with a memory per task, in float64; the entries of absent tasks stay as they are."""

    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True

    def start(self, n_tasks: int) -> dict[str, Tensor]:
        """The memory before the first step: name of the buffer -> value, shape (K,) or ()."""
        raise NotImplementedError

    def bind(self, tasks: Sequence[Task | str]) -> None:
        super().bind(tasks)
        for name, value in self.start(len(self.tasks)).items():
            self.register_buffer(name, value)

    def reset(self) -> None:
        if self.tasks:
            for name, value in self.start(len(self.tasks)).items():
                self.get_buffer(name).copy_(value)

    def entries(self, flow: Flow) -> Entries:
        """Which entries of the memory this step is about."""
        return Entries.of(self, flow)


class Comparable(ByLoss):
    """Scale by losses that divisors and offsets have made comparable: ``u = (l - o) / d``."""

    divisors: PerTask | None
    offsets: PerTask | None

    def __init__(self, divisors: Numbers | None, offsets: Numbers | None) -> None:
        super().__init__()
        self.divisors = self.positive("divisors", divisors)
        self.offsets = self.any_number("offsets", offsets)

    def comparable(self, flow: Flow) -> Tensor:
        """u, shape (S,)."""
        losses, tasks = flow.losses(), flow.signals.tasks
        if self.offsets is not None:
            losses = losses - self.offsets.at(tasks, losses)
        return self.per_divisor(losses, flow)

    def per_divisor(self, values: Tensor, flow: Flow) -> Tensor:
        """Values (S,) over d: what a derivative in u is in the loss itself."""
        return values if self.divisors is None else values / self.divisors.at(flow.signals.tasks, values)


def learnable(flow: Flow) -> Tensor:
    """Which rows have a loss that a memory may learn from, bool (S,): there, and a finite number."""
    return present(flow) & torch.isfinite(flow.losses())


def softmax(scores: Tensor, is_there: Tensor) -> Tensor:
    """Softmax over the rows that are there; 0 for the others."""
    return scores.masked_fill(~is_there, -torch.inf).softmax(0).masked_fill(~is_there, 0.0)


def require_positive(method: str, tasks: Sequence[str], losses: Tensor, remedy: str = "") -> None:
    """Raise for losses that have no logarithm."""
    bad = {task: loss for task, loss in zip(tasks, losses.tolist(), strict=True) if loss <= 0}
    if bad:
        raise BalanceError(
            f"{method}() takes logarithms and needs losses > 0, found {bad}. "
            + (remedy or "Add an offset to these losses that makes them positive, or take a method without logarithms")
        )
