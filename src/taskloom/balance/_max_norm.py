"""The link that shortens a direction that is too long; several methods and ``clip()`` end with it."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._link import Link
from taskloom.balance.flow import Flow, Need
from taskloom.errors import BalanceError

__all__ = ["MaxNorm", "multiply", "norm_of"]


class MaxNorm(Link):
    """Shortens the one row that is left to a norm of at most ``max_norm`` (see :func:`taskloom.clip`)."""

    needs: ClassVar[Need] = Need.GRAMIAN

    def __init__(self, max_norm: float) -> None:
        super().__init__()
        if not (math.isfinite(max_norm) and max_norm > 0):
            raise BalanceError(f"clip(): max_norm must be a positive number, found {max_norm!r}")
        self.max_norm = float(max_norm)

    def forward(self, flow: Flow) -> Flow:
        norm = norm_of(flow, self)
        return multiply(flow, (self.max_norm / norm).clamp(max=1.0))

    def __repr__(self) -> str:
        return f"clip({self.max_norm:g})"


def norm_of(flow: Flow, link: Link) -> Tensor:
    """Norm of the direction that a chain has come to, ().

    Raises:
        BalanceError: several rows are left.
    """
    if flow.n_rows != 1:
        raise BalanceError(
            f"{link!r} acts on the final direction, found {flow.n_rows} rows; put it at the end, after a reducer such "
            "as sum_()"
        )
    if flow.direction is not None:
        norm: Tensor = torch.linalg.vector_norm(flow.direction.detach())
        return norm.to(flow.mix)
    assert flow.signals.gramian is not None
    row = flow.mix.detach()[0]
    return torch.dot(row, flow.signals.gramian.detach().to(row) @ row).clamp(min=0).sqrt()


def multiply(flow: Flow, factor: Tensor) -> Flow:
    """The flow with its one row, and its direction if there is one, multiplied by a number.

    The factors of unweighted heads stay as they are: they are those of the losses, not of the direction.
    """
    direction = flow.direction
    return flow.becomes(
        mix=factor.to(flow.mix) * flow.mix,
        is_diagonal=flow.is_diagonal,
        direction=None if direction is None else factor.to(direction) * direction,
    )
