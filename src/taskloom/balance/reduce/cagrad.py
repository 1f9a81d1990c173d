"""CAGrad: the direction near the mean gradient that does most for the task it helps least.

    max_d min_i g_i . d  subject to  ||d - g_0|| <= c ||g_0||,    g_0 the mean gradient

Its dual is a problem on the simplex: with ``w`` the minimiser of ``w^T G b + c ||g_0|| ||J^T w||``, b uniform,

    d = g_0 + c ||g_0|| g_w / ||g_w||,    g_w = J^T w
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from taskloom.balance._entries import presence
from taskloom.balance._precision import rounding
from taskloom.balance._solve import conflict_averse_weights
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError

__all__ = ["CAGrad", "cagrad"]


class CAGrad(Reduce):
    """Weights of the conflict-averse direction (see :func:`cagrad`)."""

    def __init__(self, c: float, rescale: Literal[0, 1, 2]) -> None:
        super().__init__()
        if not (math.isfinite(c) and c >= 0):
            raise BalanceError(f"cagrad(): c must be a number >= 0, found {c!r}; the paper uses 0.2 to 0.9")
        if rescale not in (0, 1, 2):
            raise BalanceError(f"cagrad(): rescale must be 0, 1 or 2, found {rescale!r}")
        self.c = float(c)
        self.rescale = rescale

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S) of float64 gradients."""
        return conflict_averse_weights(gramian, self.c) / self._divisor()

    def forward(self, flow: Flow) -> Flow:
        weights = conflict_averse_weights(
            flow.gramian(), self.c, active=presence(flow), rounding=rounding(flow.signals)
        )
        return flow.combined(weights / self._divisor())

    def _divisor(self) -> float:
        return (1.0, 1 + self.c**2, 1 + self.c)[self.rescale]

    def __repr__(self) -> str:
        return f"cagrad({self.c:g}{'' if self.rescale == 1 else f', rescale={self.rescale}'})"


def cagrad(c: float = 0.4, *, rescale: Literal[0, 1, 2] = 1) -> Balancer:
    """Conflict-averse gradients: stay near the mean gradient, but help the task that it helps least.

    Try it when the mean loss is what counts and some tasks lag behind. Larger c trades more of the mean for the worst
    task: c = 0 is the mean gradient, large c tends to the direction of MGDA.

        max_d min_i g_i . d  subject to  ||d - g_0|| <= c ||g_0||,    g_0 = (1/K) sum_i g_i

    Args:
        c: radius of the ball around g_0, as a multiple of its length; from 1 on it need not converge to a stationary
            point of the mean loss.
        rescale: 0: d as it is; 1 (default): d / (1 + c^2); 2: d / (1 + c).

    Returns:
        the balancer.

    Raises:
        BalanceError: a negative c or an unknown rescale.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; a few quadratic programs of K
        numbers.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the dual is solved exactly instead of by a general optimiser, which fails unnoticed where gradient norms differ
        by much. The official code's factor K on the direction is not there. Where g_w = 0 (a zero gradient, a Pareto
        stationary point) the direction is g_0, as the method's convergence proof wants it, not 0. A single task gets
        its gradient times (1 + c), rescaled.

    Source:
        Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, arXiv
        2110.14048. Compared with cvxpy on exact inputs.

    Example:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])  # two gradients that disagree, the second one longer
        >>> cagrad(c=0.5, rescale=0).weights(gramian)
        tensor([0.9330, 0.5000])
    """
    return chain(CAGrad(c, rescale))
