"""GLS: the geometric mean of the losses, ``L = (prod_k l_k)^(1/K)``, computed through logarithms.

Its gradient is ``w_k = L / (K l_k)``: the direction of log-scalarisation, with a length that shrinks with the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow, task_names
from taskloom.balance.scale._losses import ByLoss, require_positive
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["GeometricMean", "geometric_mean", "gls"]


class GeometricMean(ByLoss):
    """Scales every row by the derivative of the geometric mean of the losses (see :func:`geometric_mean`)."""

    method: ClassVar[str] = "gls"

    def __init__(self, focus: Sequence[str] | None) -> None:
        super().__init__()
        self.focus = () if focus is None else (focus,) if isinstance(focus, str) else tuple(focus)
        if focus is not None and (not self.focus or len(set(self.focus)) < len(self.focus)):
            raise BalanceError(f"gls(): focus must be distinct names of tasks, found {list(self.focus)}")

    def bind(self, tasks: Sequence[Task | str]) -> None:
        names = task_names(tasks)
        for name in self.focus:
            if name not in names:
                raise BalanceError(f"gls(): focus names {name!r}, which is no task.{nearest(name, names)}")
        super().bind(tasks)

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        require_positive(self.method, tasks, losses)

    def scale(self, flow: Flow) -> Tensor:
        losses, exponents = self._parts(flow)
        return self._value(losses, exponents) * exponents / losses

    def value(self, flow: Flow) -> Tensor:
        """The geometric mean, times that of the focus; the factors are its gradient."""
        return self._value(*self._parts(flow))

    def _value(self, losses: Tensor, exponents: Tensor) -> Tensor:
        return (exponents * losses.log()).sum().exp()

    def _parts(self, flow: Flow) -> tuple[Tensor, Tensor]:
        """Losses with 1 in place of those of absent tasks, and their exponents in the product; (S,) each."""
        is_there = present(flow)
        exponents = _equal_shares(is_there, flow.mix)
        if self.focus:
            if flow.n_rows != flow.signals.n_tasks:
                raise BalanceError("gls(): focus needs one row per task; put it before the links that combine tasks")
            chosen = torch.tensor([name in self.focus for name in flow.signals.tasks], device=is_there.device)
            exponents = exponents + _equal_shares(is_there & chosen, flow.mix)
        return torch.where(is_there, flow.losses(), 1.0), exponents

    def __repr__(self) -> str:
        return f"geometric_mean(focus={list(self.focus)!r})" if self.focus else "geometric_mean()"


def _equal_shares(chosen: Tensor, like: Tensor) -> Tensor:
    return chosen.to(like) / chosen.sum().clamp(min=1)


def geometric_mean(focus: Sequence[str] | None = None) -> GeometricMean:
    """Link that scales each row by the derivative of the geometric mean of the losses.

        A = diag(L / (K l)),    L = exp(mean_k log l_k)

    Args:
        focus: as :func:`gls`.

    Returns:
        the link; it needs the losses.

    Raises:
        BalanceError: as :func:`gls`.

    Example:
        >>> chain(geometric_mean()).weights(None, torch.tensor([1.0, 4.0]))
        tensor([1.0000, 0.2500])
    """
    return GeometricMean(focus)


def gls(focus: Sequence[str] | None = None) -> Balancer:
    """The geometric mean of the losses: every task counts by its relative change, whatever its unit.

    Try it when losses differ in unit or size. It has the direction of :func:`log_scalarisation`, and steps that become
    smaller with the losses. One loss near 0 takes all the weight.

        L = (prod_k l_k)^(1/K),    w_k = L / (K l_k)

    Args:
        focus: names of tasks that count more: L is multiplied by the geometric mean of their losses. Default none.

    Returns:
        ``chain(geometric_mean(focus))``.

    Raises:
        BalanceError: focus on an unknown task; at a step, a loss that is not positive.

    Cost:
        nothing beyond the ordinary backward pass.

    Distributed:
        losses are averaged over ranks first.

    Differs from the paper:
        nothing; the product is computed through logarithms, so that it cannot underflow. There is no epsilon: a loss
        of 0 raises.

    Source:
        Chennupati, Sistu, Yogamani, Rawashdeh, "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss
        Strategy for Multi-Task Learning", CVPR Workshops 2019, arXiv 1904.08492. Compared with TorchJD 0.18.0.

    Example:
        >>> gls().weights(None, torch.tensor([1.0, 4.0]))
        tensor([1.0000, 0.2500])
    """
    return chain(geometric_mean(focus))
