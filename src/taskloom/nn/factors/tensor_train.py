"""Tensor train: a chain of small cores, one per axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from taskloom.nn.factors.base import Basis, Factorisation, thin_svd

__all__ = ["TensorTrain", "TensorTrainBasis"]


class TensorTrainBasis(Basis):
    """A chain of cores.

        G_1[i_1] G_2[i_2] .. G_p[i_p]

    Args:
        cores: G_m of shape (r_(m-1), d_m, r_m) with r_0 = 1, one per axis but that of the tasks.

    Example:
        >>> TensorTrainBasis([torch.zeros(1, 4, 2), torch.zeros(2, 5, 3)])().shape
        torch.Size([4, 5, 3])
    """

    def __init__(self, cores: Sequence[Tensor]) -> None:
        super().__init__()
        self.cores = nn.ParameterList(nn.Parameter(core) for core in cores)

    def forward(self) -> Tensor:
        first, *others = self.cores
        weights: Tensor = first[0]
        for core in others:
            weights = torch.tensordot(weights, core, dims=1)
        return weights

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(core.shape[-1] for core in self.cores)


@dataclass(frozen=True)
class TensorTrain(Factorisation):
    """A chain of cores, cut after cut by singular values.

        W[i_1, .., i_p, t] = G_1[i_1] .. G_p[i_p] s_t

    There are p cuts; the rank of each is at most the product of the lengths on either side. Parameters:
    ``sum_m r_(m-1) d_m r_m``.

    Example:
        >>> basis, vectors = TensorTrain(rank=1).decompose(torch.ones(4, 3, 5))
        >>> torch.allclose(basis() @ vectors[0], torch.ones(4, 3), atol=1e-6)
        True
    """

    def decompose(self, stack: Tensor) -> tuple[Basis, Tensor]:
        rest, rank, cores = stack.double().reshape(1, -1), 1, []
        for cut, length in enumerate(stack.shape[:-1], start=1):
            u, s, v = thin_svd(rest.reshape(rank * length, -1))
            new = self.chosen(s, step=cut - 1, what=f"TT, cut {cut}")
            cores.append(u[:, :new].reshape(rank, length, new).to(stack))
            rest, rank = s[:new, None] * v[:new], new
        return TensorTrainBasis(cores), rest.T.contiguous().to(stack)
