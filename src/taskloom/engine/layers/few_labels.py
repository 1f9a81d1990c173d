"""Batches in which a row has labels of few tasks: as many passes as a row has labels, instead of one per task.

Where rows do not mix, the gradient of task k in row b comes from its cotangent in row b alone. One pass can therefore
carry another task in every row. With s labels per row, s passes carry everything:

    pass r:  C_r[b] = Z_k[b],   k the r-th task that has a label in row b
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

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
    """Cotangents Z_k (N, ...) at the frontier, of which only the rows that are not zero are kept.

    Args:
        n_rows: number of rows N.
        n_tasks: number of tasks that are there.

    Example:
        >>> few = FewLabels(2, 2)
        >>> few.offer(0, [torch.tensor([[1.0], [0.0]])]), few.offer(1, [torch.tensor([[0.0], [2.0]])])
        (True, True)
        >>> [(one.tasks.tolist(), one.cotangents[0].tolist()) for one in few.passes()]
        [([0, 1], [[1.0], [2.0]])]
    """

    def __init__(self, n_rows: int, n_tasks: int) -> None:
        self.n_rows = n_rows
        self.most = max(1, n_tasks // 2)
        self._counts: Tensor | None = None
        self._tasks: list[int] = []
        self._rows: list[Tensor] = []
        self._values: list[list[Tensor]] = []

    def offer(self, task: int, cotangents: Sequence[Tensor]) -> bool:
        """Keep the rows of a task, unless it has become clear that labels are not few."""
        has_label: Tensor | None = None
        for one in cotangents:
            flat = one.flatten(1) if one.ndim > 1 else one.unsqueeze(1)
            # NaN counts; several times faster than looking at every entry
            own = (flat.amax(1) != 0) | (flat.amin(1) != 0)
            has_label = own if has_label is None else has_label | own
        assert has_label is not None
        self._counts = has_label.long() if self._counts is None else self._counts + has_label
        n_tasks = len(self._tasks) + 1
        labels, highest = (int(found) for found in torch.stack([self._counts.sum(), self._counts.max()]).tolist())
        if highest > self.most or (n_tasks > 1 and labels > 0.75 * n_tasks * self.n_rows):
            return False
        rows = has_label.nonzero().squeeze(1)
        self._tasks.append(task)
        self._rows.append(rows)
        self._values.append([one.index_select(0, rows) for one in cotangents])
        return True

    def restore(self, into: Sequence[Tensor]) -> None:
        """Write what was kept to Z (K, N, ...)."""
        for task, rows, values in zip(self._tasks, self._rows, self._values, strict=True):
            for whole, one in zip(into, values, strict=True):
                whole[task].zero_()
                whole[task].index_copy_(0, rows, one)

    def passes(self) -> Iterator[LabelPass]:
        """The passes that carry all cotangents."""
        rows = torch.cat(self._rows)
        tasks = torch.tensor(self._tasks).repeat_interleave(torch.tensor([len(one) for one in self._rows]))
        tasks = tasks.to(rows.device)
        values = [torch.cat(column) for column in zip(*self._values, strict=True)]
        order = rows.argsort(stable=True)  # labels of a row side by side
        _, counts = torch.unique_consecutive(rows[order], return_counts=True)
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        number = torch.empty_like(rows)
        number[order] = torch.arange(len(rows), device=rows.device) - first  # which of the labels of its row
        for place in range(int(counts.max()) if len(counts) else 0):
            chosen = (number == place).nonzero().squeeze(1) if int(counts.max()) > 1 else slice(None)
            own_tasks = torch.full((self.n_rows,), -1, dtype=torch.long, device=rows.device)
            own_tasks[rows[chosen]] = tasks[chosen]
            cotangents = [
                one.new_zeros(self.n_rows, *one.shape[1:]).index_copy_(0, rows[chosen], one[chosen]) for one in values
            ]
            yield LabelPass(own_tasks, cotangents)
