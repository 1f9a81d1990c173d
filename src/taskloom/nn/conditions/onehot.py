"""The one-hot code of the task beside the features: ``u' = [u; z_t]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from taskloom.errors import TaskError
from taskloom.nn.conditions.base import Condition

__all__ = ["OneHotConcat"]


class OneHotConcat(Condition):
    """Append the one-hot code of the task; before a linear layer this is exactly one bias per task.

    The layer that reads it needs ``n_slots`` more inputs.

    Args:
        n_slots: length of the code, K or more; spare slots allow tasks to be added later.
        dimension: conditioned axis, see :class:`Condition`.

    Example:
        >>> OneHotConcat(2)(torch.zeros(1, 1), members=[1], rows=torch.tensor([0]))
        tensor([[0., 0., 1.]])
    """

    def __init__(self, n_slots: int, *, dimension: int = 1) -> None:
        super().__init__(n_slots, width=0, dimension=dimension)
        self.n_slots = n_slots
        self.slots = tuple(range(n_slots))  # of each task, then the spare ones

    def forward(self, features: Tensor, members: Sequence[int], rows: Tensor) -> Tensor:
        codes = torch.as_tensor([self.slots[member] for member in members], device=features.device)[rows]  # (n,)
        slots = torch.arange(self.n_slots, device=features.device)
        return self._append(features, (codes.unsqueeze(-1) == slots).to(features.dtype))

    def only(self, index: int) -> Self:
        """A copy that always gives the code of one task."""
        alone = super().only(index)
        alone.slots = (self.slots[index],)
        return alone

    def add_task(self, n_tasks: int) -> Self:
        """Take a spare slot; raises TaskError when there is none."""
        if n_tasks > len(self.slots):
            raise TaskError(
                f"the one-hot code has {len(self.slots)} slots, all in use; build the model with spare slots, "
                f"OneHotConcat({n_tasks}) or more, or use EmbeddingConcat"
            )
        return self

    def forget(self, index: int) -> None:
        """Never use the slot of this task again: the layer behind it has learned what it meant."""
        super().forget(index)
        self.slots = (*self.slots[:index], *self.slots[index + 1 :])
