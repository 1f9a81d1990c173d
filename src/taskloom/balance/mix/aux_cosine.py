"""Cosine gating: an auxiliary task helps as long as its gradient points the way of the main task's.

d = g_m + sum_i w_i g_i,    w_i = max(0, cos(g_m, g_i))  or  1[cos(g_m, g_i) >= 0]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from taskloom.balance._cosines import cosines
from taskloom.balance.base import Balancer, Mix, chain
from taskloom.balance.flow import Flow, task_names
from taskloom.balance.reduce.sum import sum_
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["KeepAgreeing", "aux_cosine", "keep_agreeing"]


class KeepAgreeing(Mix):
    """Weakens or drops the rows that do not point the way of the main one (see :func:`keep_agreeing`)."""

    holds_tasks: ClassVar[bool] = True

    def __init__(self, main: str | int, form: Literal["weighted", "unweighted"]) -> None:
        super().__init__()
        if form not in ("weighted", "unweighted"):
            raise BalanceError(f"aux_cosine(): form must be 'weighted' or 'unweighted', found {form!r}")
        if isinstance(main, bool) or not isinstance(main, str | int):
            raise BalanceError(f"aux_cosine(): main is the name or the position of the main task, found {main!r}")
        self.main = main
        self.form = form

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Look up the main task."""
        names = task_names(tasks)
        if isinstance(self.main, str) and self.main not in names:
            raise BalanceError(
                f"aux_cosine(): there is no task {self.main!r}.{nearest(self.main, names)} The tasks are {list(names)}"
            )
        if isinstance(self.main, int) and not -len(names) <= self.main < len(names):
            raise BalanceError(f"aux_cosine(): main = {self.main}, but there are {len(names)} tasks {list(names)}")
        super().bind(tasks)

    def forward(self, flow: Flow) -> Flow:
        tasks = flow.signals.tasks
        if not self.tasks:
            raise BalanceError(f"{self!r} does not know the tasks: call balancer.bind(tasks) before the first step")
        if flow.n_rows != flow.signals.n_tasks:
            raise BalanceError(
                f"{self!r} compares tasks, found {flow.n_rows} rows for {flow.signals.n_tasks} tasks; put it before "
                "the links that change the number of rows"
            )
        self.positions(tasks)  # raises on an unknown task
        main = self.main if isinstance(self.main, str) else self.tasks[self.main]
        if main not in tasks:  # nothing to agree with
            return flow.becomes(mix=torch.zeros_like(flow.mix))
        kept = _agreement(flow.gramian(), tasks.index(main), self.form)
        return flow.becomes(mix=kept.to(flow.mix).unsqueeze(1) * flow.mix)

    def __repr__(self) -> str:
        return (
            f"keep_agreeing({self.main!r})"
            if self.form == "weighted"
            else f"keep_agreeing({self.main!r}, 'unweighted')"
        )


def _agreement(gramian: Tensor, main: int, form: str) -> Tensor:
    """Factors (S,) of the rows; a cosine with a zero gradient is 0 and keeps nothing."""
    angles = cosines(gramian)
    similarity = angles.matrix[main]
    kept = similarity.clamp(min=0) if form == "weighted" else (similarity >= 0).to(similarity)
    kept = torch.where(angles.is_nonzero & angles.is_nonzero[main], kept, 0)
    is_main = torch.arange(len(kept), device=kept.device) == main
    return torch.where(is_main, 1.0, kept)


def keep_agreeing(main: str | int, form: Literal["weighted", "unweighted"] = "weighted") -> KeepAgreeing:
    """Link that weakens or drops the gradients of tasks that disagree with the main one.

        A = diag(w),   w_main = 1,   w_i = max(0, cos(g_main, g_i))  or  1[cos(g_main, g_i) >= 0]

    Args:
        main: as :func:`aux_cosine`.
        form: as :func:`aux_cosine`.

    Returns:
        the link; it needs the Gramian.

    Raises:
        BalanceError: as :func:`aux_cosine`.

    Example:
        >>> gramian = torch.tensor([[1.0, 0.6, -0.6], [0.6, 1.0, 0.0], [-0.6, 0.0, 1.0]])
        >>> chain(keep_agreeing(0), sum_()).weights(gramian)
        tensor([1.0000, 0.6000, 0.0000])
    """
    return KeepAgreeing(main, form)


def aux_cosine(main: str | int, form: Literal["weighted", "unweighted"] = "weighted") -> Balancer:
    """Auxiliary tasks take part only as far as their gradients agree with the main task's.

    Use it when one task counts and the others are there to help it: no auxiliary task can then keep the main loss from
    its stationary points.

        d = g_m + sum_i w_i g_i,   w_i = max(0, cos(g_m, g_i))  or  1[cos(g_m, g_i) >= 0]

    Args:
        main: name or position of the main task; all others are auxiliary.
        form: "weighted" (default): weight by the cosine; "unweighted": all or nothing.

    Returns:
        ``chain(keep_agreeing(main), sum_())``.

    Raises:
        BalanceError: an unknown form, or (when bound) no such task.

    Cost:
        K backward passes through the shared part; K times its parameters in memory.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        a zero gradient has cosine 0 and weight 0 in both forms. In a batch without the main task the shared part gets
        no gradient. Heads get their own gradients.

    Source:
        Du, Czarnecki, Jayakumar, Farajtabar, Pascanu, Lakshminarayanan, "Adapting Auxiliary Losses Using Gradient
        Similarity", 2018, arXiv 1812.02224.

    Example:
        >>> gramian = torch.tensor([[1.0, 0.6, -0.6], [0.6, 1.0, 0.0], [-0.6, 0.0, 1.0]])
        >>> aux_cosine(0, "unweighted").weights(gramian)
        tensor([1., 1., 0.])
    """
    return chain(keep_agreeing(main, form), sum_())
