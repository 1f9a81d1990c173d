"""ConFIG: the direction at the same angle to every gradient, as long as the gradients say.

    u = unit(U^+ p),  U rows u_i = g_i / n_i;    d = (sum_i g_i . u) u

On inner products: ``v = N^-1 C^+ p``, ``d_0 = J^T v``, and the length follows from ``sum_i g_i . d_0 = 1^T G v`` and
``||d_0||^2 = v^T G v``. The published code inverts the K x P matrix ``U``; the results are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from taskloom.balance._angles import Length, conflict_free
from taskloom.balance._entries import presence
from taskloom.balance._per_task import PerTask
from taskloom.balance._precision import rounding
from taskloom.balance._stationarity import stationarity
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["Config", "config"]

_LENGTHS = ("projection", "min", "mean", "max")


class Config(Reduce):
    """Weights of the conflict-free direction (see :func:`config`)."""

    def __init__(
        self,
        length: Length,
        preference: Mapping[str, float] | Sequence[float] | None,
        on_stationary: Literal["regularise", "zero"],
    ) -> None:
        super().__init__()
        if length not in _LENGTHS:
            raise BalanceError(f"config(): length must be one of {_LENGTHS}, found {length!r}")
        if on_stationary not in ("regularise", "zero"):
            raise BalanceError(f"config(): on_stationary must be 'regularise' or 'zero', found {on_stationary!r}")
        self.length = length
        self.on_stationary = on_stationary
        self.preference = PerTask(1.0 if preference is None else preference, what="config(): preference", low=0.0)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Put the preference in the order of the tasks."""
        self.preference.bind(tasks)
        super().bind(tasks)

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S), all tasks preferred equally; 0 for zero rows."""
        return conflict_free(gramian, gramian.new_ones(len(gramian)), length=self.length)[0]

    def forward(self, flow: Flow) -> Flow:
        gramian = flow.gramian()
        preference = self.preference.at(flow.signals.tasks, gramian)
        if flow.n_rows != flow.signals.n_tasks:
            preference = gramian.new_ones(flow.n_rows)
        active = presence(flow)
        if active is not None:
            preference = preference * active.to(preference)
        weights, falls_back = conflict_free(gramian, preference, length=self.length)
        if self.on_stationary == "zero":
            stops = stationarity(gramian) <= 10 * len(gramian) * rounding(flow.signals)
            weights = torch.where(stops, 0, weights)
        return flow.combined(weights, falls_back=falls_back)

    def __repr__(self) -> str:
        given = [] if self.length == "projection" else [repr(self.length)]
        if self.preference.given != 1.0:
            given.append(f"preference={self.preference.given!r}")
        if self.on_stationary != "regularise":
            given.append(f"on_stationary={self.on_stationary!r}")
        return f"config({', '.join(given)})"


def config(
    length: Literal["projection", "min", "mean", "max"] = "projection",
    *,
    preference: Mapping[str, float] | Sequence[float] | None = None,
    on_stationary: Literal["regularise", "zero"] = "regularise",
) -> Balancer:
    """Conflict-free gradients: the direction makes the same angle with every task's gradient and opposes none.

    Try it for losses of very different kinds on one network, such as the equations, boundary and initial conditions of
    a physics-informed network, when the conflict report (:func:`taskloom.measure`) shows conflicts. More tasks than
    shared parameters, or linearly dependent gradients, leave no such direction; then it is the nearest one.

        w = v (1^T G v) / (v^T G v),   v = N^-1 C^+ p,   N = diag(||g_i||),   C_ij = cos(g_i, g_j)

    Args:
        length: ||d||. "projection" (default, the paper's): the sum of the components of all gradients along d; "min",
            "mean", "max": the smallest, mean or largest gradient norm.
        preference: p >= 0, cosines with the gradients are in this ratio; one per task in order, or by name; default 1.
        on_stationary: at a Pareto stationary point. "regularise" (default): the pseudo-inverse, which gives d = 0 for
            two opposite gradients; "zero": w = 0.

    Returns:
        the balancer.

    Raises:
        BalanceError: an unknown length or ``on_stationary``, a preference that is negative or not of these tasks.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; one eigendecomposition of K x K.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        on inner products instead of the K x P pseudo-inverse. The paper's direction covers all parameters; here heads
        get their own gradients. The variant with momentum is not there. Zero gradients get weight 0.

    Source:
        Liu, Chu, Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", ICLR 2025,
        arXiv 2408.11104. Compared with TorchJD 0.18.0.

    Example:
        >>> config().weights(torch.diag(torch.tensor([1.0, 4.0])))  # two orthogonal gradients of length 1 and 2
        tensor([1.5000, 0.7500])
    """
    return chain(Config(length, preference, on_stationary))
