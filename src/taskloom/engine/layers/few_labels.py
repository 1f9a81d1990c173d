"""Batches in which a row has labels of few tasks: as many passes as a row has labels, instead of one per task.

Where rows do not mix, the gradient of task k in row b comes from its cotangent in row b alone. One pass can therefore
carry another task in every row. With s labels per row, s passes carry everything:

    pass r:  C_r[b] = Z_k[b],   k the r-th task that has a label in row b
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from taskloom.engine.layers.cotangents import Cotangents
from taskloom.engine.layers.row_tasks import RowTasks

__all__ = ["FewLabels", "LabelPass"]


class LabelPass:
    """One pass.

    Args:
        tasks: task of each row, -1 for none, shape (N,).
        cotangents: what goes in at each edge of the frontier, (N, ...).
    """

    def __init__(self, tasks: Tensor, cotangents: Sequence[Tensor]) -> None:
        self.tasks, self.cotangents = tasks, cotangents
        self._of_size: dict[int, RowTasks] = {}

    def of_result(self, size: int) -> RowTasks:
        """Tasks of the rows of a result whose first axis has this size."""
        if size not in self._of_size:
            times = size // len(self.tasks)
            self._of_size[size] = RowTasks(self.tasks if times == 1 else self.tasks.repeat_interleave(times))
        return self._of_size[size]


class FewLabels:
    """Which rows of a batch have labels of which tasks.

    Args:
        rows: task -> its rows, ascending.
        n_rows: number of rows N.

    Example:
        >>> FewLabels({0: torch.tensor([0, 2]), 1: torch.tensor([1, 2])}, 4).most
        2
    """

    def __init__(self, rows: dict[int, Tensor], n_rows: int) -> None:
        self.rows, self.n_rows = rows, n_rows
        counts = torch.zeros(n_rows, dtype=torch.long, device=next(iter(rows.values())).device)
        self._number: dict[int, Tensor] = {}  # which of the labels of its row a label is
        for task, own in rows.items():
            self._number[task] = counts[own]
            counts[own] += 1
        self.most = int(counts.max())
        self.n_labels = sum(len(own) for own in rows.values())

    @classmethod
    def find(cls, cotangents: Cotangents, n_rows: int, n_tasks: int) -> FewLabels | None:
        """The labels of a batch; None if rows have too many for this to pay.

        Args:
            cotangents: gradients of the tasks at the frontier.
            n_rows: number of rows N.
            n_tasks: number of tasks that are there.
        """
        rows: dict[int, Tensor] = {}
        n_labels = 0
        for task in range(n_tasks):
            own = cotangents.labels(task)
            if own is None:
                continue
            rows[task] = own
            n_labels += len(own)
            if len(rows) > 1 and n_labels > 0.75 * len(rows) * n_rows:
                return None
        if not rows:
            return None
        found = cls(rows, n_rows)
        return None if found.most > max(1, n_tasks // 2) else found

    def passes(self, cotangents: Cotangents) -> Iterator[LabelPass]:
        """The passes that carry all cotangents."""
        for place in range(self.most):
            tasks: Tensor | None = None
            into = [torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in cotangents.shapes]
            for task, rows in self.rows.items():
                own = rows if self.most == 1 else rows[self._number[task] == place]
                if tasks is None:
                    tasks = torch.full((self.n_rows,), -1, dtype=torch.long, device=rows.device)
                tasks[own] = task
                cotangents.write_rows(task, own, into)
            assert tasks is not None
            yield LabelPass(tasks, into)
