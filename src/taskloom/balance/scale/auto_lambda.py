"""Auto-Lambda: weights are trained so that a step with them lowers the held-out losses of the tasks that count.

    min over w of  sum_{p primary} l_p^val(theta - eta sum_i w_i g_i),    gradient in w_i:  -eta g_i . sum_p g_p^val

``g_i`` are the gradients of the training batch, ``g_p^val`` those of another one. The official code approximates the
same products by finite differences; with the gradients at hand they are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskloom.balance._entries import Entries
from taskloom.balance.base import Balancer, HeadGradient, Need, Scale, chain
from taskloom.balance.flow import Flow, task_names
from taskloom.errors import BalanceError, nearest
from taskloom.task import Task

__all__ = ["AutoLambda", "auto_lambda"]


class AutoLambda(Scale):
    """Weights trained by their effect on held-out losses (see :func:`auto_lambda`)."""

    needs: ClassVar[Need] = Need.CROSS
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    n_batches: ClassVar[int] = 2
    learns_from_first: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "weighted"

    weight: nn.Parameter

    def __init__(
        self,
        primary: str | int | Sequence[str | int] | None,
        inner_lr: float,
        init: float,
        lr: float,
        nonnegative: bool,
    ) -> None:
        super().__init__()
        if not inner_lr > 0 or not lr > 0:
            raise BalanceError(f"auto_lambda(): inner_lr and lr must be positive, found {inner_lr!r} and {lr!r}")
        self.primary = [primary] if isinstance(primary, str | int) else None if primary is None else list(primary)
        if self.primary is not None and not self.primary:
            raise BalanceError("auto_lambda(): primary names no task; name those that count, or None for all")
        self.inner_lr = inner_lr
        self.init = init
        self.lr = lr
        self.nonnegative = nonnegative

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One weight per task; look up the primary ones."""
        names = task_names(tasks)
        for one in self.primary or []:
            if isinstance(one, str) and one not in names:
                raise BalanceError(f"auto_lambda(): there is no task {one!r}.{nearest(one, names)}")
            if isinstance(one, int) and not -len(names) <= one < len(names):
                raise BalanceError(f"auto_lambda(): primary = {one}, but there are {len(names)} tasks {list(names)}")
        super().bind(tasks)
        self.weight = nn.Parameter(torch.full((len(names),), self.init, dtype=torch.get_default_dtype()))

    def reset(self) -> None:
        if self.tasks:
            with torch.no_grad():
                self.weight.fill_(self.init)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The weights, with their own learning rate and no weight decay."""
        return [{**group, "lr": self.lr} for group in super().parameter_groups()]

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        if self.nonnegative:
            with torch.no_grad():
                self.weight.clamp_(min=0)
        weights = entries.take(self.weight).to(flow.mix)
        gradient = self.meta_gradient(flow)
        # Worth 0, and its gradient in the weights is the meta gradient: an ordinary backward pass trains them.
        penalty = ((weights - weights.detach()) * gradient).sum()
        return self.rescale(flow, weights.detach(), penalty)

    def meta_gradient(self, flow: Flow) -> Tensor:
        """-eta J g^val, shape (S,)."""
        names = self.tasks if self.primary is None else self._primary_names()
        counted = [float(task in names) for task in flow.signals.tasks]
        return -self.inner_lr * (flow.cross() @ torch.tensor(counted).to(flow.mix))

    def _primary_names(self) -> list[str]:
        return [one if isinstance(one, str) else self.tasks[one] for one in self.primary or []]

    def __repr__(self) -> str:
        return f"auto_lambda({self.primary!r})"


def auto_lambda(
    primary: str | int | Sequence[str | int] | None = None,
    *,
    inner_lr: float,
    init: float = 0.1,
    lr: float = 1e-4,
    nonnegative: bool = False,
) -> Balancer:
    """Weights are trained so that training on all tasks lowers the held-out losses of those that count.

    Try it when some tasks are there only to help others, or when the useful tasks change during training. Every step
    looks at two batches: one to train on and one that is held out, which may be another training batch. Its weights are
    parameters: bind the tasks, then give ``balancer.parameter_groups()`` to the optimiser (:func:`taskloom.fit` does
    both).

        gradient in w_i:  -eta g_i . sum_p g_p^val,    d = sum_i w_i g_i

    Args:
        primary: name or position of the tasks that count, one or several; default: all.
        inner_lr: eta, the learning rate of the network, for the step that is looked ahead.
        init: weights at the start; default 0.1.
        lr: learning rate of the weights, meant for Adam; default 1e-4.
        nonnegative: keep weights from becoming negative; default False, as in the paper.

    Returns:
        the balancer; give it two independent batches per step: ``balance(training, ..., independent=[held_out])``. The
        step is made of the first one; of the second only its gradients are looked at.

    Raises:
        BalanceError: an argument out of range or not of these tasks; in a step, one batch only.

    Cost:
        K backward passes through the shared part for each batch; K times its parameters in memory for each.

    Distributed:
        task gradients are averaged over ranks before the products; the weights are ordinary parameters: register the
        balancer in the module that is wrapped.

    Differs from the paper:
        products run over the shared parameters; in the paper over those of heads too. The held-out gradients are used
        as they are given: taken at theta instead of at the end of the step that is looked ahead, they differ by O(eta).
        Products are exact instead of finite differences.

    Source:
        Liu, James, Davison, Johns, "Auto-Lambda: Disentangling Dynamic Task Relationships", TMLR 2022, arXiv
        2202.03091.

    Example:
        >>> balancer = auto_lambda(0, inner_lr=0.1)
        >>> balancer.bind(["main", "helper"])
        >>> products = torch.tensor([[1.0, 0.0], [0.5, 2.0]])  # the helper's step lowers the held-out main loss too
        >>> balancer.combine(torch.ones(2), cross=products).penalty.backward()
        >>> next(balancer.parameters()).grad
        tensor([-0.1000, -0.0500])
    """
    return chain(AutoLambda(primary, inner_lr, init, lr, nonnegative))
