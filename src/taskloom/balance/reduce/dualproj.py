"""DualProj: the mean gradient, projected so that it opposes no task.

d = the nearest vector to J^T p among {y : J y >= 0};    d = J^T v,  v = argmin v^T G v  over v >= p
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from taskloom.balance._dual_cone import DualCone, Preference
from taskloom.balance._entries import present, uniform
from taskloom.balance._solve import dual_cone
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow

__all__ = ["DualProj", "dualproj"]


class DualProj(DualCone):
    """Weights of the projected mean gradient (see :func:`dualproj`)."""

    reduces: ClassVar[bool] = True

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S), all tasks preferred equally."""
        return dual_cone(self.cone(gramian), gramian.new_full((len(gramian),), 1 / len(gramian)))

    def forward(self, flow: Flow) -> Flow:
        gramian = flow.gramian()
        preference = self.preferred(flow, gramian)
        if preference is None:
            preference = uniform(present(flow), gramian)
        weights = dual_cone(self.cone(gramian), preference)
        return flow.combined(weights)

    def __repr__(self) -> str:
        return f"dualproj({self.arguments()})"


def dualproj(preference: Preference | None = None, *, ridge: float = 0.0) -> Balancer:
    """Dual projection: the mean gradient gives up just so much that it opposes no task.

    Try it when the mean loss is what counts and no task may get worse. It is the projection that GEM uses against
    forgetting. Without conflicts between the mean and any task it is the mean gradient.

        d = nearest vector to sum_i p_i g_i among {y : g_j . y >= 0 for all j}

    Args:
        preference: p >= 0; one per task in order, or by name; default 1/K. Preferences are used as they are: not
            normalised, so their sum acts on the learning rate.
        ridge: added to the diagonal of the Gramian, as a multiple of its trace; 0 (default) is exact. 1e-4 is what
            TorchJD adds; then the direction can oppose tasks of small gradient.

    Returns:
        the balancer.

    Raises:
        BalanceError: a negative preference or ridge, or (when bound) preferences that are not those of the tasks.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; a quadratic program of K numbers.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        nothing. GEM projects the gradient of the current task; here it is the mean of all.

    Source:
        Lopez-Paz, Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, arXiv 1706.08840. Compared
        with TorchJD 0.18.0 (with its ridge).

    Example:
        >>> import torch
        >>> gramian = torch.tensor([[1.0, -2.0], [-2.0, 9.0]])  # two gradients that disagree, the second one longer
        >>> dualproj().weights(gramian)
        tensor([1.0000, 0.5000])
    """
    return chain(DualProj(preference, ridge, method="dualproj()"))
