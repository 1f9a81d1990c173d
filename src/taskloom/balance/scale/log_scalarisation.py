"""Log-scalarisation: the sum of the logarithms of the losses, ``w = p / l``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import ByLoss, require_positive

__all__ = ["LogLosses", "log_losses", "log_scalarisation"]


class LogLosses(ByLoss):
    """Divides every row by its loss (see :func:`log_losses`)."""

    method: ClassVar[str] = "log_scalarisation"

    def __init__(self, preference: Mapping[str, float] | Sequence[float] | None) -> None:
        super().__init__()
        self.given = preference
        self.preference = self.positive("preference", preference)

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        require_positive(self.method, tasks, losses)

    def scale(self, flow: Flow) -> Tensor:
        return self._preferred(1 / _filled(flow), flow)

    def value(self, flow: Flow) -> Tensor:
        """``sum_k p_k log l_k``, whose gradient the factors are."""
        return self._preferred(_filled(flow).log(), flow).sum()

    def _preferred(self, values: Tensor, flow: Flow) -> Tensor:
        return values if self.preference is None else values * self.preference.at(flow.signals.tasks, values)

    def __repr__(self) -> str:
        return "log_losses()" if self.given is None else f"log_losses({self.given!r})"


def _filled(flow: Flow) -> Tensor:
    """Losses with 1 in place of those of absent tasks."""
    return torch.where(present(flow), flow.losses(), 1.0)


def log_losses(preference: Mapping[str, float] | Sequence[float] | None = None) -> LogLosses:
    """Link that divides each row by its loss: its row becomes the gradient of the logarithm.

        A = diag(p / l)

    Args:
        preference: p > 0; one number per task in task order, or task name -> number. Default 1 each.

    Returns:
        the link; it needs the losses.

    Raises:
        BalanceError: a preference is not a positive number; at a step, a loss that is not positive.

    Example:
        >>> from taskloom.balance.base import chain
        >>> from taskloom.balance.reduce.mean import mean
        >>> chain(log_losses(), mean()).weights(None, torch.tensor([1.0, 4.0]))
        tensor([0.5000, 0.1250])
    """
    return LogLosses(preference)


def log_scalarisation(preference: Mapping[str, float] | Sequence[float] | None = None) -> Balancer:
    """The sum of the logarithms of the losses: every task counts by its relative change, whatever its unit.

    Try it first when losses differ in unit or size. It is where uncertainty weighting and IMTL-L come to rest, without
    anything to train. A task whose loss nears zero gets an ever larger weight.

        L = sum_k p_k log l_k,    w_k = p_k / l_k

    Args:
        preference: p > 0; one number per task in task order, or task name -> number; used as they are, not
            normalised. Default 1 each, so that this is to the product of the losses what ``equal()`` is to the sum.

    Returns:
        ``chain(log_losses(preference))``.

    Raises:
        BalanceError: a preference is not a positive number; at a step, a loss that is not positive.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first.

    Differs from the paper:
        nothing; there is no epsilon: a loss of 0 raises.

    Source:
        common practice, known as scale-invariant scalarisation; as a baseline: Navon, Shamsian, Achituve, Maron,
        Kawaguchi, Chechik, Fetaya, "Multi-Task Learning as a Bargaining Game", ICML 2022, arXiv 2202.01017.

    Example:
        >>> log_scalarisation().weights(None, torch.tensor([1.0, 4.0]))
        tensor([1.0000, 0.2500])
    """
    return chain(log_losses(preference))
