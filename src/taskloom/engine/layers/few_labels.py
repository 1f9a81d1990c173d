"""Batches in which a row has labels of few tasks: as many passes as a row has labels, instead of one per task.

Where rows do not mix, the gradient of task k in row b comes from its cotangent in row b alone. One pass can therefore
carry another task in every row. With s labels per row, s passes carry everything:

    pass r:  C_r[b] = Z_k[b],   k the r-th task that has a label in row b
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.engine.layers.row_tasks import RowTasks

__all__ = ["LabelPass", "label_passes"]

_SAMPLED_ROWS = 8


@dataclass(frozen=True)
class LabelPass:
    """One pass.

    Args:
        tasks: task of each row, -1 for none, shape (N,).
    """

    tasks: Tensor

    def cotangent(self, cotangents: Tensor) -> Tensor:
        """C_r (N, ...) from Z (K, N, ...)."""
        rows = torch.arange(len(self.tasks), device=self.tasks.device)
        chosen = cotangents[self.tasks.clamp(min=0), rows]
        empty = self.tasks < 0
        if bool(empty.any()):
            chosen[empty] = 0
        return chosen

    def of_result(self, size: int) -> RowTasks:
        """Tasks of the rows of a result whose first axis has this size."""
        times = size // len(self.tasks)
        return RowTasks(self.tasks if times == 1 else self.tasks.repeat_interleave(times))


def label_passes(cotangents: Sequence[Tensor], most: int) -> list[LabelPass] | None:
    """The passes that carry all cotangents Z (K, N, ...), if there are at most ``most``; else None."""
    n_rows = cotangents[0].shape[1]
    sample = torch.arange(0, n_rows, max(1, n_rows // _SAMPLED_ROWS), device=cotangents[0].device)
    if int(_has_label([one[:, sample] for one in cotangents]).sum(0).max()) > most:
        return None
    has_label = _has_label(cotangents)  # (K, N)
    n_passes = int(has_label.sum(0).max())
    if n_passes > most:
        return None
    tasks, rows = has_label.nonzero(as_tuple=True)
    rank = has_label.cumsum(0)[tasks, rows] - 1
    of_pass = torch.full((n_passes, n_rows), -1, dtype=torch.long, device=has_label.device)
    of_pass[rank, rows] = tasks
    return [LabelPass(one) for one in of_pass]


def _has_label(cotangents: Sequence[Tensor]) -> Tensor:
    """Whether a task has a gradient in a row, (K, N); NaN counts."""
    found: Tensor | None = None
    for one in cotangents:
        flat = one.flatten(2) if one.ndim > 2 else one.unsqueeze(2)
        own = (flat.amax(2) != 0) | (flat.amin(2) != 0)  # several times faster than looking at every entry
        found = own if found is None else found | own
    assert found is not None
    return found
