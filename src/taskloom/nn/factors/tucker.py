"""Tucker: a small core, with a factor for every axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taskloom.nn.factors.base import Basis, Factorisation, thin_svd, unfolded

__all__ = ["Tucker", "TuckerBasis"]


class TuckerBasis(Basis):
    """A small core with a factor for every axis.

        core x_1 U_1 x_2 U_2 .. x_p U_p

    Args:
        core: (r_1, .., r_p, r).
        factors: U_m of shape (d_m, r_m), one per axis but the last.

    Example:
        >>> TuckerBasis(torch.zeros(2, 2, 3), [torch.zeros(4, 2), torch.zeros(5, 2)])().shape
        torch.Size([4, 5, 3])
    """

    def __init__(self, core: Tensor, factors: Sequence[Tensor]) -> None:
        super().__init__()
        self.core = nn.Parameter(core)
        self.factors = nn.ParameterList(nn.Parameter(factor) for factor in factors)

    def forward(self) -> Tensor:
        weights: Tensor = self.core
        for mode, factor in enumerate(self.factors):
            weights = torch.tensordot(factor, weights, dims=([1], [mode])).movedim(0, mode)
        return weights

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(self.core.shape)


@dataclass(frozen=True)
class Tucker(Factorisation):
    """A core and a factor per axis, from the higher-order singular value decomposition.

        W = core x_1 U_1 .. x_(p+1) U_(p+1)

    Every axis has a rank of its own, the task axis last. Parameters: ``r_1 ... r_(p+1) + sum_m d_m r_m``.

    Example:
        >>> basis, vectors = Tucker(rank=(2, 2, 1)).decompose(torch.ones(4, 3, 5))
        >>> torch.allclose(basis() @ vectors[0], torch.ones(4, 3), atol=1e-6)
        True
    """

    def decompose(self, stack: Tensor) -> tuple[Basis, Tensor]:
        core, factors = stack.double(), []
        for mode in range(stack.ndim):
            u, s, _ = thin_svd(unfolded(stack, mode))
            factor = u[:, : self.chosen(s, step=mode, what=f"Tucker, axis {mode}")]
            factors.append(factor)
            core = torch.tensordot(factor.T, core, dims=([1], [mode])).movedim(0, mode)
        return TuckerBasis(core.to(stack), [factor.to(stack) for factor in factors[:-1]]), factors[-1].to(stack)
