"""Normalisation of the rows before a method: gradients of one length, losses of one size, or both.

A = diag(1/||g_i||)  or  diag(1/l_i)  or  diag(1/(l_i ||g_i||))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from taskloom.balance.base import Need, Scale
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["Normalize", "normalize"]

Kind = Literal["l2", "loss", "loss+"]


class Normalize(Scale):
    """Divides every row by its norm, its loss or both (see :func:`normalize`)."""

    def __init__(self, by: Kind) -> None:
        super().__init__()
        if by not in ("l2", "loss", "loss+"):
            raise BalanceError(f"normalize(): by must be 'l2', 'loss' or 'loss+', found {by!r}")
        self.by = by

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """The losses, the Gramian, or both."""
        return {"l2": Need.GRAMIAN, "loss": Need.LOSSES, "loss+": Need.LOSSES | Need.GRAMIAN}[self.by]

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        if self.by == "l2":
            return
        wrong = [task for task, loss in zip(tasks, losses.tolist(), strict=True) if not loss > 0]
        if wrong:
            raise BalanceError(
                f"normalize({self.by!r}) divides by the losses, those of the tasks {wrong} are not positive; add a "
                "constant to them or use normalize('l2')"
            )

    def scale(self, flow: Flow) -> Tensor:
        factors = torch.ones_like(flow.mix[:, 0])
        if self.by != "loss":
            factors = factors * _inverse(flow.gramian().diagonal().clamp(min=0).sqrt())
        if self.by != "l2":
            factors = factors * _inverse(flow.losses())
        return factors

    def forward(self, flow: Flow) -> Flow:
        # What is normalised are the rows of the shared part; heads keep their losses as they are.
        mix = self.scale(flow).unsqueeze(-1) * flow.mix
        return flow.becomes(mix=mix, is_diagonal=flow.is_diagonal)

    def __repr__(self) -> str:
        return f"normalize({self.by!r})"


def _inverse(values: Tensor) -> Tensor:
    """1/x, and 0 for 0: a zero row stays one, an absent task's loss of 0 matters to nobody."""
    return torch.where(values > 0, 1 / torch.where(values > 0, values, 1), 0)


def normalize(by: Kind = "l2") -> Normalize:
    """Link that brings the rows to one size before the method that follows.

    Put it before a method that is pulled to the largest or the smallest gradient: ``chain(normalize("l2"), cagrad())``.
    Alone it is the sum of the normalised gradients. Heads keep their own losses as they are.

        A = diag(1/||g_i||)  "l2",   diag(1/l_i)  "loss",   diag(1/(l_i ||g_i||))  "loss+"

    Args:
        by: "l2" (default), "loss" (then each row is the gradient of log l_i) or "loss+".

    Returns:
        the link; it needs the Gramian ("l2"), the losses ("loss") or both. A zero gradient stays zero.

    Raises:
        BalanceError: an unknown kind; or, in a step, a loss that is not positive where losses divide.

    Cost:
        "loss": nothing; otherwise K backward passes through the shared part.

    Distributed:
        task gradients and losses are averaged over ranks first.

    Differs from the paper:
        the official code of MGDA finds weights for the normalised gradients and applies them to the raw ones; here the
        weights apply to the normalised gradients, for which the guarantees of the method that follows hold.

    Source:
        the normalisations of Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, arXiv
        1810.04650.

    Example:
        >>> from taskloom.balance.base import chain
        >>> chain(normalize()).weights(torch.diag(torch.tensor([1.0, 4.0])))
        tensor([1.0000, 0.5000])
    """
    return Normalize(by)
