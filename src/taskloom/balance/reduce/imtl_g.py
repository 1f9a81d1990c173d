"""IMTL-G: the combination that has the same component along every task's gradient.

    d . u_i equal for all i,  u_i = g_i / n_i,  sum_i w_i = 1;    v = N^-1 C^+ 1,  w = v / |1^T v|

with ``C`` the matrix of cosines and ``N`` the diagonal of gradient norms. The form is symmetric in the tasks; the paper
writes the same weights with the first task as a pivot. The paper divides by ``1^T v``, which can be negative: then the
direction points uphill for every task at once.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from taskloom.balance._angles import impartial
from taskloom.balance._entries import presence
from taskloom.balance._precision import rounding
from taskloom.balance._stationarity import stationarity
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["ImtlG", "imtl_g"]


class ImtlG(Reduce):
    """Weights that give the direction equal components along all gradients (see :func:`imtl_g`)."""

    def __init__(self, sign_guard: bool, on_stationary: Literal["regularise", "zero"]) -> None:
        super().__init__()
        if on_stationary not in ("regularise", "zero"):
            raise BalanceError(f"imtl_g(): on_stationary must be 'regularise' or 'zero', found {on_stationary!r}")
        self.sign_guard = bool(sign_guard)
        self.on_stationary = on_stationary

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S); 0 for zero rows."""
        return impartial(gramian, sign_guard=self.sign_guard)[0]

    def forward(self, flow: Flow) -> Flow:
        gramian = flow.gramian()
        weights, falls_back = impartial(gramian, active=presence(flow), sign_guard=self.sign_guard)
        if self.on_stationary == "zero":
            stops = stationarity(gramian) <= 10 * len(gramian) * rounding(flow.signals)
            weights = torch.where(stops, 0, weights)
        return flow.combined(weights, falls_back=falls_back)

    def __repr__(self) -> str:
        given = [] if self.sign_guard else ["sign_guard=False"]
        if self.on_stationary != "regularise":
            given.append(f"on_stationary={self.on_stationary!r}")
        return f"imtl_g({', '.join(given)})"


def imtl_g(sign_guard: bool = True, *, on_stationary: Literal["regularise", "zero"] = "regularise") -> Balancer:
    """Impartial gradients: the direction goes equally far along every task's gradient, however long that is.

    Try it when gradient sizes differ by orders of magnitude and no task is to be favoured for it. Weights can be
    negative, and the length of the direction depends on how the gradients lie: with many similar gradients look at
    :func:`taskloom.measure` first.

        w = v / |1^T v|,   v = N^-1 C^+ 1,   N = diag(||g_i||),   C_ij = cos(g_i, g_j);
        K = 2: w = (n_2, n_1) / (n_1 + n_2)

    Args:
        sign_guard: True (default): divide by ``|1^T v|``, so that the direction descends for all tasks whenever C is
            regular. False: divide by ``1^T v`` as the paper does; where it is negative, every loss goes up.
        on_stationary: at a Pareto stationary point. "regularise" (default): the pseudo-inverse, and where the unit
            gradients sum to zero (two opposite ones), its limit for C + eps I, which gives d = 0. "zero": w = 0.

    Returns:
        the balancer.

    Raises:
        BalanceError: an unknown ``on_stationary``.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; one eigendecomposition of K x K.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the sign guard. Where ``|1^T v|`` is below 1e-6 of ``sum |v_i|``, its length is that of ConFIG. Zero gradients
        get weight 0. The paper computes the gradients at the shared features; here they are those of the shared
        parameters. Its other half, the loss scaling, is a link of its own; together they are the full method.

    Source:
        Liu, Li, Kuang, Xue, Chen, Yang, Liao, Zhang, "Towards Impartial Multi-task Learning", ICLR 2021.

    Example:
        >>> imtl_g().weights(torch.diag(torch.tensor([1.0, 4.0])))  # two orthogonal gradients of length 1 and 2
        tensor([0.6667, 0.3333])
    """
    return chain(ImtlG(sign_guard, on_stationary))
