"""UPGrad: every task gradient is projected so that it opposes no task, and the projections are averaged.

    pi(x) = the nearest vector to x among {y : J y >= 0};    d = sum_i p_i pi(g_i)

On inner products: ``pi(g_i) = J^T v_i`` with ``v_i = argmin v^T G v`` over ``v >= e_i``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.balance._dual_cone import DualCone, Preference
from taskloom.balance._solve import dual_cone
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import sum_

__all__ = ["ProjectDualCone", "project_dual_cone", "upgrad"]


class ProjectDualCone(DualCone):
    """Projects every row on the vectors that oppose no row (see :func:`project_dual_cone`)."""

    def mix(self, gramian: Tensor) -> Tensor:
        """Combination matrix (S, S), without preference."""
        return dual_cone(self.cone(gramian), torch.eye(len(gramian), dtype=gramian.dtype, device=gramian.device))

    def forward(self, flow: Flow) -> Flow:
        gramian = flow.gramian()
        rows = self.mix(gramian)
        preference = self.preferred(flow, gramian)
        if preference is not None:
            rows = preference.unsqueeze(1) * rows
        return flow.combined(rows)

    def __repr__(self) -> str:
        return f"project_dual_cone({self.arguments()})"


def project_dual_cone(preference: Preference | None = None, *, ridge: float = 0.0) -> ProjectDualCone:
    """Link that replaces each task gradient by the nearest vector that opposes no task's gradient.

    After it, every row and so every sum of rows with positive factors lowers all losses, or leaves them, for small
    steps. The order of tasks does not matter.

        row i becomes p_i J^T v_i,    v_i = argmin v^T G v  over v >= e_i

    Args:
        preference: p >= 0, a factor on each row; one per task in order, or by name; default 1.
        ridge: added to the diagonal of G, as a multiple of its trace; 0 (default) is exact, 1e-4 what TorchJD adds.

    Returns:
        the link; it needs the Gramian.

    Raises:
        BalanceError: a negative preference or ridge, or (when bound) preferences that are not those of the tasks.

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
        >>> project_dual_cone().mix(gramian)
        tensor([[1.0000, 0.2500],
                [1.0000, 1.0000]], dtype=torch.float64)
    """
    return ProjectDualCone(preference, ridge, method="upgrad()")


def upgrad(preference: Preference | None = None, *, ridge: float = 0.0) -> Balancer:
    """Unconflicting projections: every gradient gives up what opposes other tasks, then they are averaged.

    Try it when no task may get worse, but small gradients should not hold back the large ones, as they do in MGDA.
    Without conflicts it is the mean gradient; for two tasks it is half of PCGrad.

        d = sum_i p_i pi(g_i),    pi(x) = nearest vector to x among {y : g_j . y >= 0 for all j}

    Args:
        preference: p >= 0; one per task in order, or by name; default 1/K. Preferences are used as they are: not
            normalised, so their sum acts on the learning rate.
        ridge: added to the diagonal of the Gramian, as a multiple of its trace; 0 (default) is exact. 1e-4 is what
            TorchJD and LibMTL add; then the direction can oppose tasks of small gradient.

    Returns:
        ``chain(project_dual_cone(), mean())``, with a preference ``chain(project_dual_cone(preference), sum_())``.

    Raises:
        BalanceError: a negative preference or ridge, or (when bound) preferences that are not those of the tasks.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; K quadratic programs of K numbers.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        nothing.

    Source:
        Quinton, Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, arXiv 2406.16232. Compared with TorchJD
        0.18.0 (with its ridge).

    Example:
        >>> gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]])  # two gradients that disagree, the second one longer
        >>> upgrad().weights(gramian)
        tensor([1.0000, 0.6250])
    """
    return chain(project_dual_cone(preference, ridge=ridge), mean() if preference is None else sum_())
