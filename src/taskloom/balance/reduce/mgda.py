"""MGDA: the shortest vector in the convex hull of the task gradients.

    w in argmin ||J^T w||^2  over w >= 0, 1^T w = 1;    d = J^T w

Either ``d = 0`` and no direction improves all tasks, or ``g_i . d >= ||d||^2`` for every task, with equality where
``w_i > 0``. With lengths ``s`` the rows ``g_i / s_i`` take the place of the gradients in the problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from taskloom.balance._entries import presence
from taskloom.balance._features import at_features
from taskloom.balance._solve import min_norm
from taskloom.balance.base import Balancer, Need, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["Mgda", "Normalise", "mgda", "mgda_ub"]

Normalise = Literal["none", "l2", "loss", "loss+"]


class Mgda(Reduce):
    """Weights of the shortest vector in the convex hull (see :func:`mgda`)."""

    def __init__(self, normalise: Normalise, apply_to: Literal["raw", "normalised"]) -> None:
        super().__init__()
        if normalise not in ("none", "l2", "loss", "loss+"):
            raise BalanceError(f"mgda(): normalise must be 'none', 'l2', 'loss' or 'loss+', found {normalise!r}")
        if apply_to not in ("raw", "normalised"):
            raise BalanceError(f"mgda(): apply_to must be 'raw' or 'normalised', found {apply_to!r}")
        self.normalise = normalise
        self.apply_to = apply_to

    @property
    def needs(self) -> Need:  # type: ignore[override]
        """The Gramian, and the losses where gradients are divided by them."""
        return Need.GRAMIAN | Need.LOSSES if self.normalise.startswith("loss") else Need.GRAMIAN

    def check(self, tasks: Sequence[str], losses: Tensor) -> None:
        if self.normalise.startswith("loss") and bool((losses < 0).any()):
            bad = {task: loss for task, loss in zip(tasks, losses.tolist(), strict=True) if loss < 0}
            raise BalanceError(
                f"mgda({self.normalise!r}) divides by the losses, found {bad}; expected none below 0: add an offset to "
                "these losses, or normalise by 'l2'"
            )

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S), gradients not normalised."""
        return min_norm(gramian)

    def forward(self, flow: Flow) -> Flow:
        gramian = flow.gramian()
        if self.normalise == "none":
            weights = min_norm(gramian, active=presence(flow))
        else:
            lengths = self._lengths(gramian, flow)
            weights = min_norm(gramian / lengths / lengths.unsqueeze(1), active=presence(flow))
            if self.apply_to == "normalised":
                weights = weights / lengths
        return flow.combined(weights)

    def _lengths(self, gramian: Tensor, flow: Flow) -> Tensor:
        """What rows are divided by, (S,); 1 instead of 0, for absent tasks and zero gradients."""
        lengths = torch.ones_like(gramian.diagonal())
        if self.normalise != "loss":
            lengths = gramian.diagonal().clamp(min=0).sqrt()
        if self.normalise != "l2":
            lengths = lengths * flow.losses().to(gramian)
        return torch.where(lengths > 0, lengths, 1)

    def __repr__(self) -> str:
        given = [] if self.normalise == "none" else [repr(self.normalise)]
        if self.apply_to != "raw":
            given.append(f"apply_to={self.apply_to!r}")
        return f"mgda({', '.join(given)})"


def mgda(normalise: Normalise = "none", *, apply_to: Literal["raw", "normalised"] = "raw") -> Balancer:
    """Multiple gradient descent: the shortest combination of the gradients, which lowers all losses or shows none can.

    Try it when no task may get worse and gradients are of similar size. It follows the smallest gradient: a task that
    hardly learns, or has finished, slows all others down; normalise then, or prefer Nash-MTL or UPGrad.

        w = argmin ||sum_i w_i g_i / s_i||^2  over w >= 0, sum_i w_i = 1;    d = sum_i w_i g_i

    Args:
        normalise: s. "none" (default): 1; "l2": gradient norms; "loss": losses; "loss+": losses times gradient norms.
        apply_to: "raw" (default, the official code's): d as above. "normalised": d = sum_i w_i g_i / s_i, the direction
            that is known to lower all losses; with "l2" it ignores the scale of each task.

    Returns:
        the balancer.

    Raises:
        BalanceError: an unknown option; at a step, a loss below 0 where gradients are divided by losses.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; a quadratic program of K numbers.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the quadratic program is solved exactly instead of by Frank-Wolfe steps, whose directions are off by up to 90 %
        where gradient norms differ. Several zero gradients share the weight, equal gradients get equal weights. The
        paper leaves heads their own gradients, as here; the official code weighs them.

    Source:
        Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Math. 2012; Sener,
        Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, arXiv 1810.04650.

    Example:
        >>> mgda().weights(torch.diag(torch.tensor([1.0, 3.0])))  # two orthogonal gradients, the second one longer
        tensor([0.7500, 0.2500])
    """
    return chain(Mgda(normalise, apply_to))


def mgda_ub() -> Balancer:
    """MGDA on the gradients of the features that all tasks read: one pass through the shared part for any K.

    Try it where MGDA is wanted and too dear. Its weights minimise an upper bound of what MGDA minimises; the two agree
    on which points are stationary when the features depend on the parameters in every direction.

        w = argmin ||sum_i w_i z_i||  over w >= 0, sum_i w_i = 1;    z_i = d l_i / d Z,    d = (dZ/dtheta)^T z^T w

    Returns:
        ``at_features(mgda())``.

    Cost:
        two backward passes through the heads and one through the shared part.

    Distributed:
        every rank has features of its own samples: the Gramians of the ranks are added.

    Differs from the paper:
        nothing. Feature gradients are compared sample by sample; summing them over the batch first, as some code does,
        lets samples cancel.

    Source:
        Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018, arXiv 1810.04650, section
        3.2.

    Example:
        >>> mgda_ub().looks_at_features
        True
    """
    return at_features(mgda())
