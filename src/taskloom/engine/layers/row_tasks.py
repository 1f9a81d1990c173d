"""Which task each row of a result belongs to, in the two forms that rules ask for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.layers.owners import ByRow

__all__ = ["RowTasks"]


class RowTasks:
    """Tasks of the rows along the first axis of a result.

    Args:
        tasks: task of each row, shape (n,), -1 for none.
        runs: tasks and their rows, if they are known.

    Example:
        >>> rows = RowTasks(torch.tensor([1, 0, 1]))
        >>> [(task, where.tolist()) for task, where in rows.runs]
        [(0, [1]), (1, [0, 2])]
    """

    def __init__(self, tasks: Tensor, runs: Sequence[tuple[int, slice | Tensor]] | None = None) -> None:
        self.tasks = tasks
        self._runs = runs

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
    def runs(self) -> Sequence[tuple[int, slice | Tensor]]:
        """Every task that has rows, once, and its rows: a slice where they are neighbours."""
        if self._runs is None:
            values, counts = torch.unique_consecutive(self.tasks, return_counts=True)
            numbers = values.tolist()
            found: list[tuple[int, slice | Tensor]] = []
            if len(set(numbers)) == len(numbers):
                start = 0
                for task, count in zip(numbers, counts.tolist(), strict=True):
                    found.append((task, slice(start, start + count)))
                    start += count
            else:
                order = self.tasks.argsort(stable=True)
                values, counts = torch.unique(self.tasks, return_counts=True)
                found = list(zip(values.tolist(), order.split(counts.tolist()), strict=True))
            self._runs = [(task, rows) for task, rows in found if task >= 0]
        return self._runs
