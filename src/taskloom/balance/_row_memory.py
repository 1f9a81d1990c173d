"""A remembered gradient per task: a buffer whose size is known at the first step only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import BalanceError

__all__ = ["RowMemory"]


class RowMemory(nn.Module):
    """One remembered row per task, K x P, all 0 at first. Moves, is saved and loads like any buffer.

    The dtype is that of the rows it is given (float32 for narrower ones): in float64 it would take twice the memory of
    the gradients themselves.

    Example:
        >>> memory = RowMemory()
        >>> memory.start(2)
        >>> memory.of(torch.ones(2, 3))
        tensor([[0., 0., 0.],
                [0., 0., 0.]])
    """

    rows: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(0, 0))

    def start(self, n_tasks: int) -> None:
        """Forget everything; there are K tasks."""
        self.rows = self.rows.new_zeros(n_tasks, 0)

    def of(self, rows: Tensor) -> Tensor:
        """The memory itself, (K, P), made for rows (S, P) of this length, dtype and device at the first use.

        Raises:
            BalanceError: it holds rows of another length.
        """
        dtype = torch.promote_types(rows.dtype, torch.float32)
        if self.rows.shape[1] == 0:
            self.rows = rows.new_zeros(len(self.rows), rows.shape[1], dtype=dtype)
        elif self.rows.shape[1] != rows.shape[1]:
            raise BalanceError(
                f"this balancer remembers gradients of {self.rows.shape[1]} shared parameters, found {rows.shape[1]}; "
                "keep the shared parameters the same over all steps, or call balancer.reset()"
            )
        elif self.rows.dtype != dtype or self.rows.device != rows.device:
            self.rows = self.rows.to(rows.device, dtype)
        return self.rows

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        saved = state_dict.get(prefix + "rows")
        if isinstance(saved, Tensor) and saved.ndim == 2:
            self.rows = torch.zeros(saved.shape, dtype=saved.dtype, device=self.rows.device)
        super()._load_from_state_dict(state_dict, prefix, *others)
