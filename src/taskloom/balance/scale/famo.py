"""FAMO: tasks whose loss fell fast in the last step lose weight, from loss values alone.

    D = l - b,    z = softmax(xi),    w = (z / D) / sum_j (z_j / D_j)        the gradient of sum_k z_k log D_k, scaled
    after the step, on the same batch:    delta = log D - log D+,    xi <- Adam(xi, z * (delta - z . delta) + gamma xi)

The optimiser of the logits is part of the memory: it moves and is saved with the balancer. Counts of its steps are per
task, so that a task that a batch lacks does not age.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from taskloom.balance._entries import present
from taskloom.balance._max_norm import MaxNorm
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.reduce.sum import sum_
from taskloom.balance.scale._losses import Remembering, learnable, require_positive, softmax
from taskloom.errors import BalanceError

__all__ = ["EvenProgress", "even_progress", "famo"]

_SMALLEST = 1e-8  # added to D, as in the authors' code
_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8


class EvenProgress(Remembering):
    """Scales tasks so that their losses fall at the same relative rate (see :func:`even_progress`)."""

    method: ClassVar[str] = "famo"

    logits: Tensor  # (K,) xi
    first_moment: Tensor  # (K,) of Adam
    second_moment: Tensor  # (K,)
    updates: Tensor  # (K,) how often each logit was updated
    log_before: Tensor  # (K,) log D at the step that is to be observed
    factor: Tensor  # (K,) by which links before this one had scaled the losses then
    awaits: Tensor  # (K,) bool, which tasks that step had

    def __init__(
        self, lr: float, decay: float, minimum: float | Mapping[str, float] | Sequence[float], *, reuse_next: bool
    ) -> None:
        super().__init__()
        if not (math.isfinite(lr) and lr > 0):
            raise BalanceError(f"famo(): lr must be a positive number, found {lr!r}")
        if not (math.isfinite(decay) and decay >= 0):
            raise BalanceError(f"famo(): decay must be a number >= 0, found {decay!r}")
        self.lr = float(lr)
        self.decay = float(decay)
        self.reuse_next = reuse_next
        self.minimum = self.any_number("minimum", minimum)

    @property
    def observes(self) -> bool:
        """False when the losses of the next step stand in for those after this one."""
        return not self.reuse_next

    def start(self, n_tasks: int) -> dict[str, Tensor]:
        zeros = torch.zeros(n_tasks, dtype=torch.float64)
        names = ("logits", "first_moment", "second_moment", "updates", "log_before")
        return {
            **{name: zeros.clone() for name in names},
            "factor": torch.ones_like(zeros),
            "awaits": torch.zeros(n_tasks, dtype=torch.bool),
        }

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        assert self.minimum is not None
        above = losses - self.minimum.at(tasks, losses)
        remedy = "A lower bound of each loss, famo(minimum=...), makes them positive"
        require_positive("famo", tasks, above, f"{remedy}; these are the losses less the minimum that was given")

    def scale(self, flow: Flow) -> Tensor:
        entries, is_there = self.entries(flow), present(flow)
        # in the precision of `observe`: Adam makes a full step of a rounding difference between the two logarithms
        losses = flow.losses().to(self.logits.dtype)
        above = torch.where(is_there, self._above(losses, flow.signals.tasks), 1.0)  # (K,) D
        if self.reuse_next:
            after = torch.zeros_like(self.log_before)
            known = torch.zeros_like(self.awaits)
            entries.put(after, above.log())
            entries.put(known, torch.ones_like(is_there), learnable(flow))
            self._update(after, self.awaits & known)
        entries.put(self.log_before, above.log())
        entries.put(self.factor, flow.head.detach())
        self.awaits.fill_(False)
        entries.put(self.awaits, torch.ones_like(is_there), learnable(flow))
        shares = softmax(entries.take(self.logits), is_there) / above  # 0 for absent tasks
        total = shares.sum()
        return shares / torch.where(total == 0, 1.0, total)

    def observe(self, losses: Tensor) -> None:
        """Move the logits by what the step did to the losses (K,) of the bound tasks, taken on the same batch.

        Losses that are not finite, or not above their minimum, leave the logit of their task as it is.

        Raises:
            BalanceError: losses of another number of tasks.
        """
        if self.reuse_next or not self.tasks:
            return
        if losses.shape != (len(self.tasks),):
            raise BalanceError(
                f"famo() observes the losses of the {len(self.tasks)} tasks {list(self.tasks)} after the step, found "
                f"the shape {tuple(losses.shape)}; give the tasks that the batch lacks any number"
            )
        above = self._above(self.factor * losses.detach().to(self.factor), self.tasks)
        is_usable = torch.isfinite(above) & (above > 0)
        self._update(torch.where(is_usable, above, 1.0).log(), self.awaits & is_usable)
        self.awaits.fill_(False)  # a second look at the same step would count it twice

    def _above(self, losses: Tensor, tasks: Sequence[str]) -> Tensor:
        assert self.minimum is not None
        return losses - self.minimum.at(tasks, losses) + _SMALLEST

    @torch.no_grad()
    def _update(self, log_after: Tensor, where: Tensor) -> None:
        """One step of Adam on the logits of these tasks (K,) bool; the others and their moments stay as they are."""
        shares = softmax(self.logits, where)
        fell = torch.where(where, self.log_before - log_after, 0.0)
        gradient = shares * (fell - (shares * fell).sum()) + self.decay * self.logits
        first = _BETAS[0] * self.first_moment + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * self.second_moment + (1 - _BETAS[1]) * gradient.square()
        updates = self.updates + 1
        root = (second / (1 - _BETAS[1] ** updates)).sqrt() + _ADAM_EPS
        logits = self.logits - self.lr * first / (1 - _BETAS[0] ** updates) / root
        values = {"logits": logits, "first_moment": first, "second_moment": second, "updates": updates}
        for name, value in values.items():
            self.get_buffer(name).copy_(torch.where(where, value, self.get_buffer(name)))

    def __repr__(self) -> str:
        reuse = ", reuse_next=True" if self.reuse_next else ""
        return f"even_progress(lr={self.lr:g}, decay={self.decay:g}{reuse})"


def even_progress(
    lr: float = 0.025,
    *,
    decay: float = 1e-3,
    minimum: float | Mapping[str, float] | Sequence[float] = 0.0,
    reuse_next: bool = False,
) -> EvenProgress:
    """Link that scales each task so that all losses fall at the same relative rate.

        A = diag((z / D) / sum_j (z_j / D_j)),    D = l - b,    z = softmax(xi)

    Args:
        lr: as :func:`famo`.
        decay: as :func:`famo`.
        minimum: as :func:`famo`.
        reuse_next: as :func:`famo`.

    Returns:
        the link; it needs the losses before and after every step, and remembers logits and their optimiser.

    Raises:
        BalanceError: as :func:`famo`.

    Example:
        >>> balancer = chain(even_progress())
        >>> balancer.weights(None, torch.tensor([1.0, 3.0]))
        tensor([0.7500, 0.2500])
        >>> balancer.observe(torch.tensor([0.5, 3.0]))  # the first task was fast, it loses weight
        >>> balancer.weights(None, torch.tensor([1.0, 3.0]))
        tensor([0.7405, 0.2595])
    """
    return EvenProgress(lr, decay, minimum, reuse_next=reuse_next)


def famo(
    lr: float = 0.025,
    *,
    decay: float = 1e-3,
    minimum: float | Mapping[str, float] | Sequence[float] = 0.0,
    max_norm: float | None = None,
    reuse_next: bool = False,
) -> Balancer:
    """Fast adaptive multi-task optimisation: let all losses fall at the same relative rate, without task gradients.

    Try it when there are many tasks, or the network is large: it does for the price of a forward pass what gradient
    methods do for one backward pass per task. It has to see the losses after every step, on the same batch:
    :func:`taskloom.fit` shows them; in a loop of your own call ``balancer.observe(losses)`` after the optimiser's step.

        w = (z / D) / sum_j (z_j / D_j),    D = l - b,    z = softmax(xi)
        xi <- Adam(xi, z * (delta - z . delta) + gamma xi),    delta = log D - log D(after the step)

    Args:
        lr: learning rate of the logits xi; default 0.025.
        decay: gamma, which pulls the weights z to equal ones; default 1e-3. On full batches 0 is better.
        minimum: b, a lower bound of each loss: one number, one per task, or task name -> number. Default 0.
        max_norm: largest norm of the shared gradient; default None. Its norm is taken from task gradients, one backward
            pass each: the gradient clipping of the trainer is nearly the same and free.
        reuse_next: take the losses of the next step for those after this one, which saves the forward pass and is
            exact when every step has all the data. Default False.

    Returns:
        ``chain(even_progress(...))``.

    Raises:
        BalanceError: a learning rate that is not positive, a negative decay; at a step, a loss not above its minimum.

    Cost:
        a second forward pass on the same batch (none with ``reuse_next``).

    Distributed:
        losses are averaged over ranks first, so that every rank has the same weights; average those that you hand to
        ``observe`` as well (:func:`taskloom.fit` does).

    Differs from the paper:
        the authors' code clips the shared gradient to norm 1, here only on request. For batches that lack tasks, the
        weights are taken over the tasks that are there.

    Source:
        Liu, Feng, Stone, Liu, "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023, arXiv 2306.03792, algorithm
        1. Compared with the authors' code and TorchJD 0.18.0.

    Example:
        >>> balancer = famo()
        >>> balancer.weights(None, torch.tensor([1.0, 3.0]))
        tensor([0.7500, 0.2500])
    """
    link = even_progress(lr, decay=decay, minimum=minimum, reuse_next=reuse_next)
    return chain(link) if max_norm is None else chain(link, sum_(), MaxNorm(max_norm))
