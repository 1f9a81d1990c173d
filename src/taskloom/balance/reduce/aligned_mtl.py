"""Aligned-MTL: the task gradients are replaced by the nearest ones with equal singular values, then averaged.

    G = V L V^T,   kept l_1 >= ... >= l_R > tolerance;    B = s V_R L_R^(-1/2) V_R^T,   w = B p

With ``J = P S Q^T`` the direction is ``s Q P^T p``: the rows of ``J`` become orthogonal directions of equal strength,
so that none dominates and none is lost. ``s`` is the smallest (the paper's), the median or the root mean square of the
kept singular values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from taskloom.balance._eigen import eigen
from taskloom.balance._entries import present, uniform
from taskloom.balance._per_task import PerTask
from taskloom.balance._precision import rounding
from taskloom.balance.base import Balancer, Reduce, chain
from taskloom.balance.flow import Flow
from taskloom.errors import BalanceError
from taskloom.task import Task

__all__ = ["AlignedMTL", "aligned_mtl"]

SingularValue = Literal["min", "median", "rmse"]


class AlignedMTL(Reduce):
    """Weights of the aligned gradients (see :func:`aligned_mtl`)."""

    def __init__(
        self, scale: SingularValue, preference: Mapping[str, float] | Sequence[float] | None, min_rel_eig: float | None
    ) -> None:
        super().__init__()
        if scale not in ("min", "median", "rmse"):
            raise BalanceError(f"aligned_mtl(): scale must be 'min', 'median' or 'rmse', found {scale!r}")
        if min_rel_eig is not None and not 0 <= min_rel_eig < 1:
            raise BalanceError(
                f"aligned_mtl(): min_rel_eig is a share of the largest eigenvalue, in [0, 1), found {min_rel_eig!r}"
            )
        self.scale = scale
        self.min_rel_eig = min_rel_eig
        self.preference = None if preference is None else PerTask(preference, what="aligned_mtl(): preference", low=0.0)

    def bind(self, tasks: Sequence[Task | str]) -> None:
        """Put the preference in the order of the tasks."""
        if self.preference is not None:
            self.preference.bind(tasks)
        super().bind(tasks)

    def weights(self, gramian: Tensor) -> Tensor:
        """Weights (S,) from the Gramian (S, S) of float64 gradients, the preference uniform."""
        cutoff = len(gramian) * torch.finfo(gramian.dtype).eps if self.min_rel_eig is None else self.min_rel_eig
        return _align(gramian, torch.full_like(gramian.diagonal(), 1 / len(gramian)), self.scale, cutoff)

    def forward(self, flow: Flow) -> Flow:
        gramian = flow.gramian()
        even = uniform(present(flow), gramian)
        is_per_task = self.preference is not None and flow.n_rows == flow.signals.n_tasks
        preference = self.preference.at(flow.signals.tasks, gramian) if self.preference and is_per_task else even
        cutoff = flow.n_rows * rounding(flow.signals) if self.min_rel_eig is None else self.min_rel_eig
        weights = _align(gramian, preference, self.scale, cutoff)
        weights = torch.where((gramian.diagonal() > 0).any(), weights, even)
        return flow.combined(weights)

    def __repr__(self) -> str:
        given = [] if self.scale == "min" else [repr(self.scale)]
        if self.preference is not None:
            given.append(f"preference={self.preference.given!r}")
        if self.min_rel_eig is not None:
            given.append(f"min_rel_eig={self.min_rel_eig!r}")
        return f"aligned_mtl({', '.join(given)})"


def _align(gramian: Tensor, preference: Tensor, scale: SingularValue, cutoff: float) -> Tensor:
    values, vectors = eigen(gramian)
    dropped = values <= (cutoff * values[-1:]).clamp(min=0)  # NaN is not: it goes on to the weights
    remaining = torch.where(dropped, torch.inf, values)  # the inverse root of what is dropped is 0
    if scale == "rmse":
        square = torch.where(dropped, 0, values).sum() / (~dropped).sum().clamp(min=1)
    elif scale == "min":
        square = remaining.amin()
    else:
        middle = (len(values) + dropped.sum() - 1) // 2  # the dropped ones come first; of two middle ones the smaller
        square = remaining.gather(0, middle.reshape(1)).squeeze(0)
    roots = square.nan_to_num(nan=torch.nan, posinf=0.0).sqrt() * remaining.rsqrt()  # infinite: none remains
    weights: Tensor = vectors @ (roots * (vectors.T @ preference))
    return weights


def aligned_mtl(
    scale: SingularValue = "min",
    *,
    preference: Mapping[str, float] | Sequence[float] | None = None,
    min_rel_eig: float | None = None,
) -> Balancer:
    """Aligned gradients: tasks are made orthogonal and equally strong before they are averaged.

    Try it when training is unstable because one combination of tasks dominates: the condition number of the task
    gradients in the conflict report (:func:`taskloom.measure`) is large. With "min" its steps are as small as the
    weakest combination of gradients, so that the learning rate may have to go up.

        w = s V_R L_R^(-1/2) V_R^T p,   G = V L V^T

    Args:
        scale: s: "min" (default, the paper's), "median" or "rmse", the smallest, median or root mean square of the kept
            singular values of J.
        preference: p >= 0, one per task in order, or by name; default 1/K. Used as it is, not normalised.
        min_rel_eig: eigenvalues of G up to this share of the largest one are dropped. Default: K times eps of the dtype
            in which the gradients were computed: noise of float32 gradients must not become the smallest singular
            value. The dtype is that of the gradients if they are at hand, else of the losses or the Gramian. The
            weights jump where an eigenvalue crosses this bound; raise it if that happens in training.

    Returns:
        the balancer.

    Raises:
        BalanceError: an unknown scale, a wrong bound, or a preference that is negative or not of these tasks.

    Cost:
        K backward passes through the shared part; K times its parameters in memory; one eigendecomposition of K x K.

    Distributed:
        task gradients are averaged over ranks before the products.

    Differs from the paper:
        the preference sums to 1 by default; the official code uses 1 per task, a direction K times longer.

    Source:
        Senushkin, Patakin, Kuznetsov, Konushin, "Independent Component Alignment for Multi-Task Learning", CVPR 2023,
        arXiv 2305.19000. Compared with TorchJD 0.18.0.

    Example:
        >>> aligned_mtl().weights(torch.diag(torch.tensor([1.0, 4.0])))  # two orthogonal gradients of length 1 and 2
        tensor([0.5000, 0.2500])
    """
    return chain(AlignedMTL(scale, preference, min_rel_eig))
