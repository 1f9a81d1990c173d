"""Nash-MTL: the direction that tasks agree on when they bargain.

    max sum_i log(g_i . d)  over ||d|| <= epsilon    gives    d = J^T a with  G a = 1/a,  a > 0

so that ``g_i . d = 1 / a_i > 0`` for every task, and ``||d|| = sqrt(K)`` whatever the gradients are.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from taskloom.balance._entries import presence
from taskloom.balance._every import Every
from taskloom.balance._max_norm import MaxNorm
from taskloom.balance._precision import rounding
from taskloom.balance._solve import OnStationary, bargain, nash
from taskloom.balance.base import Balancer, HeadGradient, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["Bargain", "nash_mtl"]


class Bargain(Reduce):
    """Weights of the Nash bargaining solution (see :func:`nash_mtl`)."""

    head_gradient: ClassVar[HeadGradient | None] = "weighted"

    def __init__(self, on_stationary: OnStationary) -> None:
        super().__init__()
        if on_stationary not in ("regularise", "zero"):
            raise BalanceError(f"nash_mtl(): on_stationary must be 'regularise' or 'zero', found {on_stationary!r}")
        self.on_stationary = on_stationary

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S) of float64 gradients; 0 for zero rows."""
        return nash(gramian, on_stationary=self.on_stationary)

    def forward(self, flow: Flow) -> Flow:
        weights, falls_back = bargain(
            flow.gramian(),
            active=presence(flow),
            rounding=rounding(flow.signals),
            on_stationary=self.on_stationary,
        )
        return flow.combined(weights, falls_back=falls_back)

    def __repr__(self) -> str:
        return f"nash({'' if self.on_stationary == 'regularise' else f'on_stationary={self.on_stationary!r}'})"


def nash_mtl(
    max_norm: float | None = 1.0, *, update_weights_every: int = 1, on_stationary: OnStationary = "regularise"
) -> Balancer:
    """Nash bargaining: the direction from which every task gains the same in proportion, whatever its scale.

    Try it when losses or gradients of the tasks differ by orders of magnitude. Weights are about 1 / ||g_i||, and the
    length of the direction says nothing about the gradients: tune the learning rate anew, and lower it over time.

        G a = 1 / a,  a > 0;    w = a min(1, m / ||J^T a||),  ||J^T a|| = sqrt(K);
        K = 2: d = (u_1 + u_2) / sqrt(1 + u_1 . u_2),  u_i = g_i / ||g_i||

    Args:
        max_norm: m, longest direction; None or 0 for none.
        update_weights_every: look at the gradients at every k-th step only and keep the weights in between, which are
            then those of an older step; the steps in between cost one ordinary backward pass.
        on_stationary: at Pareto stationary points, where no direction improves all tasks and the bargain has no
            solution. "regularise" (default): solve with 1e-6 (float32 gradients: 1e-6 K, about) added to all squared
            cosines of a gradient with itself, which gives a direction near 0; "zero": w = 0.

    Returns:
        the balancer.

    Raises:
        BalanceError: a negative max_norm, an interval below 1, or an unknown ``on_stationary``.

    Cost:
        K backward passes through the shared part at every k-th step; K times its parameters in memory; about ten
        linear systems of K numbers.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the equation is solved exactly instead of by a sequence of convex programs, which ends early or fails unnoticed
        where gradient norms differ. Zero gradients get weight 0. With ``update_weights_every`` the bound acts on the
        direction of the step at which weights are made. Heads get the weighted gradient, as in the paper.

    Source:
        Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya, "Multi-Task Learning as a Bargaining Game", ICML
        2022, arXiv 2202.01017.

    Example:
        >>> import torch
        >>> nash_mtl(max_norm=None).weights(torch.diag(torch.tensor([1.0, 100.0])))  # gradients of length 1 and 10
        tensor([1.0000, 0.1000])
    """
    bargain = chain(Bargain(on_stationary), *([MaxNorm(max_norm)] if max_norm else []))
    return bargain if update_weights_every == 1 else chain(Every(update_weights_every, bargain))
