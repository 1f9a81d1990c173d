"""What the methods that project on the dual cone of the gradients share: a preference and a ridge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._link import HeadGradient, Link
from taskloom.balance._per_task import PerTask
from taskloom.balance.flow import Flow, Need
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["DualCone", "Preference"]

Preference = Mapping[str, float] | Sequence[float]


class DualCone(Link):
    """Base of links that project on ``{x : J x >= 0}``."""

    needs: ClassVar[Need] = Need.GRAMIAN
    head_gradient: ClassVar[HeadGradient | None] = "unweighted"

    def __init__(self, preference: Preference | None, ridge: float, *, method: str) -> None:
        super().__init__()
        if not (math.isfinite(ridge) and ridge >= 0):
            raise BalanceError(f"{method}: ridge must be a number >= 0, found {ridge!r}; 0 is exact")
        self.ridge = float(ridge)
        self.preference = None if preference is None else PerTask(preference, what=f"{method}: preference", low=0.0)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Put the preference in the order of the tasks."""
        if self.preference is not None:
            self.preference.bind(tasks)
        super().bind(tasks)

    def preferred(self, flow: Flow, like: Tensor) -> Tensor | None:
        """The preference of the tasks of a step, (S,), or None for an even one.

        Raises:
            BalanceError: there is a preference, but rows are no longer one per task.
        """
        if self.preference is None:
            return None
        if flow.n_rows != flow.signals.n_tasks:
            raise BalanceError(
                f"{self!r} prefers tasks, found {flow.n_rows} rows for {flow.signals.n_tasks} tasks; put it before the "
                "links that change the number of rows"
            )
        return self.preference.at(flow.signals.tasks, like)

    def cone(self, gramian: Tensor) -> Tensor:
        """The Gramian to project with, (S, S)."""
        if self.ridge == 0:
            return gramian
        return gramian + self.ridge * gramian.diagonal().sum() * torch.eye(len(gramian)).to(gramian)

    def arguments(self) -> str:
        """What was given, for ``repr``."""
        given = [] if self.preference is None else [repr(self.preference.given)]
        return ", ".join([*given, f"ridge={self.ridge:g}"] if self.ridge else given)
