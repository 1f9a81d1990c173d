"""Last axis flattening: every task's weight is a combination of r dense weights."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from taskloom.nn.factors.base import Basis, Factorisation, thin_svd, unfolded

__all__ = ["LAF", "DenseBasis"]


class DenseBasis(Basis):
    """r weights of full size.

    Args:
        weights: (d_1, .., d_p, r).

    Example:
        >>> import torch
        >>> DenseBasis(torch.zeros(4, 3, 2))().shape
        torch.Size([4, 3, 2])
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self) -> Tensor:
        return self.weights

    @property
    def ranks(self) -> tuple[int, ...]:
        return (self.weights.shape[-1],)


@dataclass(frozen=True)
class LAF(Factorisation):
    """Last axis flattening: r basis weights, and r numbers per task.

        W = L S,   W unfolded to a matrix of D rows and K columns,   r at most min(D, K)

    Parameters: ``r (d_1 ... d_p + K)``.

    Example:
        >>> import torch
        >>> basis, vectors = LAF(rank=1).decompose(torch.ones(4, 3, 5))
        >>> torch.allclose(basis() @ vectors[0], torch.ones(4, 3))
        True
    """

    def decompose(self, stack: Tensor) -> tuple[Basis, Tensor]:
        u, s, v = thin_svd(unfolded(stack, stack.ndim - 1).T)  # (prod d, K)
        rank = self.chosen(s, step=0, what="LAF")
        weights = u[:, :rank].reshape(*stack.shape[:-1], rank)
        return DenseBasis(weights.to(stack)), (s[:rank, None] * v[:rank]).T.to(stack)
