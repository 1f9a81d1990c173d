"""Which task each row of a result belongs to, in the two forms that rules ask for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.layers.owners import ByRow

__all__ = ["RowTasks"]

Runs = Sequence[tuple[int, slice]]


class RowTasks:
    """Tasks of the rows along the first axis of a result.

    Args:
        tasks: task of each row, shape (n,), -1 for none.
        runs: tasks and their rows, if every task has its rows side by side and they are known.

    Example:
        >>> rows = RowTasks(torch.tensor([1, 0, 1]))
        >>> rows.order, rows.runs
        (tensor([1, 0, 2]), [(0, slice(0, 1, None)), (1, slice(1, 3, None))])
    """

    def __init__(self, tasks: Tensor, runs: Runs | None = None) -> None:
        self.tasks = tasks
        self._found: tuple[Tensor | None, Runs] | None = None if runs is None else (None, runs)

    @classmethod
    def of_owner(cls, owner: ByRow, size: int, device: torch.device) -> RowTasks:
        """The rows of a result whose first axis has this size."""
        runs = list(owner.slices(size))
        tasks = torch.full((size,), -1, dtype=torch.long)
        for task, rows in runs:
            tasks[rows] = task
        several = len({task for task, _ in runs}) < len(runs)
        return cls(tasks.to(device), None if several else runs)

    @classmethod
    def of_task(cls, task: int, size: int, device: torch.device) -> RowTasks:
        """All rows belong to one task."""
        return cls(torch.full((size,), task, dtype=torch.long, device=device), [(task, slice(0, size))])

    @property
    def order(self) -> Tensor | None:
        """How to put rows of one task side by side; None where they are."""
        return self._sorted()[0]

    @property
    def runs(self) -> Runs:
        """Every task that has rows, once, and where they are after ``order``."""
        return self._sorted()[1]

    def _sorted(self) -> tuple[Tensor | None, Runs]:
        if self._found is None:
            order = None
            values, counts = torch.unique_consecutive(self.tasks, return_counts=True)
            if len(set(values.tolist())) < len(values):
                order = self.tasks.argsort(stable=True)
                values, counts = torch.unique_consecutive(self.tasks[order], return_counts=True)
            ends = counts.cumsum(0).tolist()
            stretches = zip(values.tolist(), [0, *ends[:-1]], ends, strict=True)
            self._found = order, [(task, slice(start, end)) for task, start, end in stretches if task >= 0]
        return self._found
