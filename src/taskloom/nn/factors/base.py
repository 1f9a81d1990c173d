"""What every factorisation of a stacked weight has in common, and how ranks are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["Basis", "Factorisation", "ranked"]


class Basis(nn.Module):
    """Common weights (d_1, .., d_p, r); a task's weight is their combination by r numbers of its own.

    Example:
        >>> from taskloom.nn.factors import LAF
        >>> basis, vectors = LAF(rank=2).decompose(torch.randn(4, 3, 5))
        >>> basis().shape, vectors.shape
        (torch.Size([4, 3, 2]), torch.Size([5, 2]))
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self) -> Tensor:
        """The common weights, (d_1, .., d_p, r)."""
        raise NotImplementedError

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of every step, as ``rank`` of the factorisation takes them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Factorisation:
    """How stacked weights (d_1, .., d_p, K) are factorised, and to which ranks.

    Args:
        rank: a number in (0, 1): at each step the smallest rank whose relative error (Frobenius norm of what is left
            out over that of the whole) is at most that; a whole number: that rank in every step, as far as there are so
            many; a sequence: one rank per step. Default 0.1, about what the paper uses.

    Raises:
        TaskError: the rank is not positive, or a rank of a sequence is larger than possible.

    Source:
        Y. Yang, T. Hospedales, Deep Multi-task Representation Learning: A Tensor Factorisation Approach, ICLR 2017,
        arXiv:1605.06391.

    Example:
        >>> from taskloom.nn.factors import Tucker
        >>> Tucker(rank=3).rank
        3
    """

    rank: float | Sequence[int] = 0.1

    def __post_init__(self) -> None:
        ranks = [self.rank] if isinstance(self.rank, (int, float)) else list(self.rank)
        for rank in ranks:
            if not rank > 0 or (rank > 1 and rank != int(rank)):
                raise TaskError(
                    f"rank={self.rank!r}: expected a whole number of 1 or more, a relative error in (0, 1), or several"
                )

    def decompose(self, stack: Tensor) -> tuple[Basis, Tensor]:
        """Factorise a stack.

        Args:
            stack: (d_1, .., d_p, K), task axis last.

        Returns:
            the basis, and the numbers of every task, (K, r).
        """
        raise NotImplementedError

    def chosen(self, singular: Tensor, *, step: int, what: str) -> int:
        """The rank of one step, from singular values in falling order.

        Args:
            singular: (n,).
            step: which number of a sequence of ranks applies.
            what: how errors call the step.
        """
        largest = len(singular)
        if not isinstance(self.rank, (int, float)):
            if step >= len(self.rank):
                raise TaskError(f"rank={list(self.rank)} has {len(self.rank)} numbers, {what} needs one more")
            wanted = int(self.rank[step])
            if wanted > largest:
                raise TaskError(f"{what}: rank {wanted} exceeds {largest}")
            return wanted
        if self.rank >= 1:
            return min(int(self.rank), largest)
        left_out = singular.double().square().flip(0).cumsum(0).flip(0).sqrt()  # of the values from each place on
        return max(1, int((left_out > self.rank * left_out[0]).sum()))


def ranked(
    factorisation: Factorisation | Sequence[Factorisation], ranks: Sequence[Sequence[int]]
) -> list[Factorisation]:
    """The factorisation of every weight, with ranks that were found before in place of its own."""
    each = [factorisation] * len(ranks) if isinstance(factorisation, Factorisation) else list(factorisation)
    if len(each) != len(ranks):
        raise TaskError(
            f"found ranks of {len(ranks)} weights for {len(each)} factorisations; build the model as it was built when "
            "the ranks were found"
        )
    return [replace(one, rank=tuple(own)) for one, own in zip(each, ranks, strict=True)]


def unfolded(tensor: Tensor, mode: int) -> Tensor:
    """The tensor as a matrix, one axis against all others."""
    return tensor.movedim(mode, 0).flatten(1)


def thin_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, singular values, V^T of a matrix, thin, in float64."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    return u, s, v
