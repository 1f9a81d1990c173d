"""IMTL-L: every task learns the factor that brings its scaled loss to 1.

    L = sum_k exp(s_k) l_k - s_k,    s trained with the model

At rest ``exp(s_k) = 1 / l_k``: the method tends to the sum of the logarithms of the losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from taskloom.balance._entries import Entries
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.scale._losses import ByLoss
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["LogScales", "imtl_l", "log_scales"]


class LogScales(ByLoss):
    """Scales every task by a learned factor (see :func:`log_scales`)."""

    method: ClassVar[str] = "imtl_l"
    holds_tasks: ClassVar[bool] = True

    log_scale: nn.Parameter

    def __init__(self, init: float | Mapping[str, float] | Sequence[float]) -> None:
        super().__init__()
        self.init = self.any_number("init", init)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        super().bind(tasks)
        self.log_scale = nn.Parameter(self._start(torch.empty(0)))

    def _start(self, like: Tensor) -> Tensor:
        assert self.init is not None
        return self.init.at(self.tasks, like).clone()

    def reset(self) -> None:
        if self.tasks:
            with torch.no_grad():
                self.log_scale.copy_(self._start(self.log_scale))

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        negative = {task: loss for task, loss in zip(tasks, losses.tolist(), strict=True) if loss < 0}
        if negative:
            raise BalanceError(
                f"imtl_l() needs losses >= 0, those of the tasks {list(negative)} are negative, found "
                f"{list(negative.values())}: its objective has no minimum there. Add an offset to these losses that "
                "makes them positive, or weigh them with fixed()"
            )

    def forward(self, flow: Flow) -> Flow:
        if not self.tasks:
            raise BalanceError(
                "imtl_l() does not know its tasks: call balancer.bind(tasks) before the optimiser is made, and add "
                "balancer.parameter_groups() to the optimiser, so that the scales are trained"
            )
        entries = Entries.of(self, flow)
        log_scale = entries.take(self.log_scale).to(flow.mix)
        return self.rescale(flow, log_scale.exp(), -torch.where(entries.is_there, log_scale, 0.0).sum())

    def __repr__(self) -> str:
        return "log_scales()"


def log_scales(init: float | Mapping[str, float] | Sequence[float] = 0.0) -> LogScales:
    """Link that scales each task by its learned factor and adds the price of a small one.

        A = diag(exp(s)),   penalty = -sum_k s_k

    Args:
        init: as :func:`imtl_l`.

    Returns:
        the link; it needs the losses and holds one parameter per task.

    Raises:
        BalanceError: as :func:`imtl_l`.

    Example:
        >>> chain(log_scales([0.0, 1.0])).weights(None, torch.tensor([1.0, 1.0]))
        tensor([1.0000, 2.7183])
    """
    return LogScales(init)


def imtl_l(init: float | Mapping[str, float] | Sequence[float] = 0.0) -> Balancer:
    """Impartial multi-task learning, the loss part: every task learns the factor that brings its loss to 1.

    Use it when losses differ in unit or size: it finds weights near ``1 / l``. It knows nothing of conflicts; the
    paper has it on the heads together with IMTL-G on the shared part, here ``chain(log_scales(), imtl_g())``. Its
    scales are parameters: bind the tasks, then give ``balancer.parameter_groups()`` to the optimiser
    (:func:`taskloom.fit` does both).

        L = sum_k exp(s_k) l_k - s_k

    Args:
        init: s at the start, one number for all tasks, one per task in order, or by name; default 0, as in the paper.

    Returns:
        ``chain(log_scales(init))``.

    Raises:
        BalanceError: init that is not finite or names an unknown task, a negative loss, or use before binding.

    Cost:
        nothing beyond the ordinary backward pass; one parameter per task.

    Distributed:
        the scales are ordinary parameters; register the balancer in the module that is wrapped.

    Differs from the paper:
        the scales have a learning rate of their own (0.025, meant for Adam) and no weight decay.

    Source:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards Impartial Multi-task Learning", ICLR 2021. Compared with
        TorchJD 0.18.0.

    Example:
        >>> balancer = imtl_l()
        >>> balancer.bind(["price", "sold"])
        >>> balancer.weights(None, torch.tensor([2.0, 0.7]))
        tensor([1., 1.])
        >>> [group["lr"] for group in balancer.parameter_groups()]
        [0.025]
    """
    return chain(log_scales(init))
