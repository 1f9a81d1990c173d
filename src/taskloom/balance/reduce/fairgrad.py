"""FairGrad: the alpha-fair direction, between the sum of the gradients and the best for the worst-off task.

    max sum_i (g_i . d)^(1-alpha) / (1-alpha)  over ||d|| <= epsilon    gives    d = J^T w,  G w = w^(-1/alpha),  w > 0

so that ``g_i . d = w_i^(-1/alpha) > 0`` for every task.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from taskloom.balance._entries import presence
from taskloom.balance._max_norm import MaxNorm
from taskloom.balance._precision import rounding
from taskloom.balance._solve import OnStationary, allocate, fair
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["FairGrad", "fairgrad"]


class FairGrad(Reduce):
    """Weights of the alpha-fair direction (see :func:`fairgrad`)."""

    def __init__(self, alpha: float, on_stationary: OnStationary) -> None:
        super().__init__()
        if not (math.isfinite(alpha) and alpha >= 0):
            raise BalanceError(f"fairgrad(): alpha must be a number >= 0, found {alpha!r}; 2 is the paper's choice")
        if on_stationary not in ("regularise", "zero"):
            raise BalanceError(f"fairgrad(): on_stationary must be 'regularise' or 'zero', found {on_stationary!r}")
        self.alpha = float(alpha)
        self.on_stationary = on_stationary

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S) of float64 gradients; 0 for zero rows."""
        if self.alpha == 0:
            return torch.ones_like(gramian.diagonal())
        return fair(gramian, self.alpha, on_stationary=self.on_stationary)

    def forward(self, flow: Flow) -> Flow:
        if self.alpha == 0:
            return super().forward(flow)
        weights, falls_back = allocate(
            flow.gramian(),
            self.alpha,
            active=presence(flow),
            rounding=rounding(flow.signals),
            on_stationary=self.on_stationary,
        )
        return flow.combined(weights, falls_back=falls_back)

    def __repr__(self) -> str:
        end = "" if self.on_stationary == "regularise" else f", on_stationary={self.on_stationary!r}"
        return f"fairgrad({self.alpha:g}{end})"


def fairgrad(
    alpha: float = 2.0, *, max_norm: float | None = None, on_stationary: OnStationary = "regularise"
) -> Balancer:
    """Alpha-fair gradients: one number between "the sum counts" and "the worst-off task counts".

    Try it when Nash-MTL helps, to move on from it: alpha = 0 is the sum of the gradients, 1 is Nash-MTL, and with large
    alpha all losses fall by the same amount, as in MGDA.

        G w = w^(-1/alpha),  w > 0;    d = J^T w,  w scaled down where ||d|| > m

    Args:
        alpha: >= 0. The direction scales with the gradients to the power (1 - alpha) / (1 + alpha): tune the learning
            rate anew when it changes.
        max_norm: m, longest direction; None (default) or 0 for none. The official code clips at 1.
        on_stationary: at Pareto stationary points, where no direction improves all tasks and there is no solution.
            "regularise" (default): solve with 1e-6 (float32 gradients: 1e-6 K, about) added to all squared cosines of a
            gradient with itself, which gives a direction near 0; "zero": w = 0.

    Returns:
        the balancer.

    Raises:
        BalanceError: a negative alpha or max_norm, or an unknown ``on_stationary``.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; ten to twenty linear systems of K
        numbers.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the equation is solved exactly instead of by bounded least squares, which is off by up to a factor where
        gradient norms differ. The official code's factor K on the direction is not there. Zero gradients get weight 0
        (alpha = 0: 1).

    Source:
        Ban, Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024, arXiv 2402.15638.

    Example:
        >>> fairgrad().weights(torch.diag(torch.tensor([1.0, 64.0])))  # two orthogonal gradients of length 1 and 8
        tensor([1.0000, 0.0625])
    """
    return chain(FairGrad(alpha, on_stationary), *([MaxNorm(max_norm)] if max_norm else []))
