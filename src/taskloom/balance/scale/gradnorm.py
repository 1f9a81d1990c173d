"""GradNorm: weights are trained so that tasks that lag behind have longer weighted gradients.

    G_i = w_i n_i,   G_bar = mean G_i,   r_i = (l_i / l_i(0)) / mean_k (l_k / l_k(0))
    L(w) = sum_i |G_i - G_bar r_i^alpha|  with the target held constant,   dL/dw_i = n_i sign(G_i - G_bar r_i^alpha)

``n_i`` is the norm of the gradient of ``l_i`` on the last shared layer. The derivative is exact in closed form, since
norms are linear in ``w``: no second backward pass, and nothing of ``L`` reaches the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from taskloom.balance._entries import Entries
from taskloom.balance._per_task import PerTask
from taskloom.balance.base import Balancer, HeadGradient, Need, Scale, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["GradNorm", "gradnorm", "gradnorm_loss"]

_LOWEST = 1e-6  # of a weight before they are normalised: steps of an optimiser can cross 0
_TINY = 1e-12  # of a first loss: it divides all later ones


class GradNorm(Scale):
    """Trained weights that equalise training rates (see :func:`gradnorm`)."""

    needs: ClassVar[Need] = Need.LOSSES | Need.LAST_LAYER
    holds_tasks: ClassVar[bool] = True
    remembers: ClassVar[bool] = True
    head_gradient: ClassVar[HeadGradient | None] = "weighted"

    weight: nn.Parameter
    first: Tensor
    seen: Tensor

    def __init__(
        self,
        alpha: float,
        lr: float,
        initial_losses: Mapping[str, float] | Sequence[float] | None,
        n_first: int,
    ) -> None:
        super().__init__()
        if not alpha >= 0:
            raise BalanceError(f"gradnorm(): alpha must not be negative, found {alpha!r}")
        if not lr > 0:
            raise BalanceError(f"gradnorm(): lr must be positive, found {lr!r}")
        if isinstance(n_first, bool) or not isinstance(n_first, int) or n_first < 1:
            raise BalanceError(f"gradnorm(): n_first is a number of steps >= 1, found {n_first!r}")
        self.alpha = alpha
        self.lr = lr
        self.n_first = n_first
        self.initial_losses = (
            None if initial_losses is None else PerTask(initial_losses, what="gradnorm(): initial_losses", low=_TINY)
        )

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """One weight, 1 at the start, and one first loss per task."""
        if self.initial_losses is not None:
            self.initial_losses.bind(tasks)
        super().bind(tasks)
        n_tasks = len(self.tasks)
        self.weight = nn.Parameter(torch.ones(n_tasks, dtype=torch.get_default_dtype()))
        for name in ("first", "seen"):
            self.register_buffer(name, torch.zeros(n_tasks, dtype=torch.float64))

    def reset(self) -> None:
        if self.tasks:
            with torch.no_grad():
                self.weight.fill_(1.0)
            self.first.zero_()
            self.seen.zero_()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The weights, with their own learning rate and no weight decay."""
        return [{**group, "lr": self.lr} for group in super().parameter_groups()]

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        positions = self.positions(tasks) if self.tasks else None
        seen = self.seen.tolist() if self.tasks else [0.0] * len(tasks)
        for place, (task, loss) in enumerate(zip(tasks, losses.tolist(), strict=True)):
            is_first = self.initial_losses is None and seen[place if positions is None else positions[place]] == 0
            if loss < 0 or (is_first and loss <= _TINY):
                raise BalanceError(
                    f"gradnorm() compares losses with those of the first step, that of the task {task!r} is {loss:g}; "
                    "expected a positive number. Add a constant to it, or pass initial_losses="
                )

    def forward(self, flow: Flow) -> Flow:
        entries = Entries.of(self, flow)
        self._normalise()
        weights = entries.take(self.weight).to(flow.mix)
        ratios = self._ratios(entries, flow)
        norms = flow.last_layer().diagonal().clamp(min=0).sqrt()
        _, gradient = gradnorm_loss(weights.detach(), norms, ratios=ratios, alpha=self.alpha, is_there=entries.is_there)
        # Worth 0, and its gradient in the weights is that of L: an ordinary backward pass trains them.
        penalty = ((weights - weights.detach()) * gradient).sum()
        return self.rescale(flow, weights.detach(), penalty)

    @torch.no_grad()
    def _normalise(self) -> None:
        """Bring the weights back to the sum K after a step of the optimiser."""
        weights = self.weight.clamp(min=_LOWEST)
        self.weight.copy_(len(weights) * weights / weights.sum())

    def _ratios(self, entries: Entries, flow: Flow) -> Tensor:
        """l_i / l_i(0), shape (S,)."""
        losses = flow.losses()
        if self.initial_losses is not None:
            first = self.initial_losses.at(flow.signals.tasks, losses)
        else:
            known, seen = entries.take(self.first), entries.take(self.seen)
            first = torch.where(seen < self.n_first, (known * seen + losses) / (seen + 1), known)
            entries.put(self.first, first)
            entries.put(self.seen, seen + 1)
        return losses / torch.where(first > 0, first, 1)

    def __repr__(self) -> str:
        return f"gradnorm({self.alpha})"


def gradnorm_loss(
    weights: Tensor, norms: Tensor, *, ratios: Tensor, alpha: float, is_there: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss by which GradNorm trains its weights, and its gradient in them, the target held constant.

        L = sum_i |G_i - G_bar r_i^alpha|,   dL/dw_i = n_i sign(G_i - G_bar r_i^alpha),   G_i = w_i n_i

    Args:
        weights: w, shape (S,).
        norms: n, shape (S,), gradient norms of the unweighted losses.
        ratios: l / l(0), shape (S,).
        alpha: strength of the pull.
        is_there: bool (S,), tasks that count; default: all.

    Returns:
        L, scalar, and its gradient, shape (S,).

    Example:
        >>> gradnorm_loss(torch.ones(2), torch.tensor([1.0, 3.0]), ratios=torch.ones(2), alpha=1.5)
        (tensor(2.), tensor([-1.,  3.]))
    """
    there = torch.ones_like(weights) if is_there is None else is_there.to(weights)
    count = there.sum().clamp(min=1)
    lengths = weights * norms * there
    mean_ratio = (ratios * there).sum() / count
    rates = torch.where(mean_ratio > 0, ratios / torch.where(mean_ratio > 0, mean_ratio, 1), 1)
    gap = (lengths - lengths.sum() / count * rates**alpha) * there
    return gap.abs().sum(), norms * gap.sign()


def gradnorm(
    alpha: float = 1.5,
    *,
    lr: float = 0.025,
    initial_losses: Mapping[str, float] | Sequence[float] | None = None,
    n_first: int = 1,
) -> Balancer:
    """Weights are trained so that all tasks train at a similar rate: those that lag behind get longer gradients.

    Try it when some tasks are learned long before others. It looks at gradient norms on one layer only, which is cheap.
    Its weights are parameters: bind the tasks, then give ``balancer.parameter_groups()`` to the optimiser
    (:func:`taskloom.fit` does both). They oscillate around their targets, since they are trained on signs.

        L(w) = sum_i |w_i n_i - mean_k(w_k n_k) r_i^alpha|,   r_i = (l_i / l_i(0)) / mean_k (l_k / l_k(0)),   sum w = K

    Args:
        alpha: how strongly lagging tasks are pulled; 0 makes gradient norms equal. Default 1.5, as the paper chose for
            NYUv2; it has 0.12 for its toy problem.
        lr: learning rate of the weights, meant for Adam.
        initial_losses: l(0), one per task in order or by name, for example log(number of classes) for cross-entropies;
            default: the losses of the first step.
        n_first: l(0) is the mean over this many first steps, for noisy losses.

    Returns:
        the balancer.

    Raises:
        BalanceError: an argument out of range or not of these tasks; in a step, a negative loss, or a first loss of 0.

    Cost:
        one backward pass, and for every task one through its head and the last shared layer.

    Distributed:
        gradients of the layer are averaged over ranks before norms are taken; the weights are ordinary parameters:
        register the balancer in the module that is wrapped.

    Differs from the paper:
        weights are kept above 1e-6 before they are brought back to the sum K, at the beginning of the next step. The
        sum runs over all bound tasks, also when a batch lacks some.

    Source:
        Chen, Badrinarayanan, Lee, Rabinovich, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
        Multitask Networks", ICML 2018, arXiv 1711.02257.

    Example:
        >>> balancer = gradnorm()
        >>> balancer.bind(["a", "b"])
        >>> combination = balancer.combine(torch.ones(2), last_layer=torch.diag(torch.tensor([1.0, 9.0])))
        >>> combination.penalty.backward()  # what a step of the optimiser will use: b is too steep
        >>> combination.weights, next(balancer.parameters()).grad
        (tensor([1., 1.]), tensor([-1.,  3.]))
    """
    return chain(GradNorm(alpha, lr, initial_losses, n_first))
