"""The cosine matrix of task gradients and its pseudo-inverse, for methods that ignore the length of each gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from taskloom.balance._eigen import eigen

__all__ = ["Cosines", "Solution", "cosines"]


@dataclass(frozen=True)
class Cosines:
    """Gradients taken apart into lengths and angles. Zero rows have cosine 0 with everything, themselves included.

    Args:
        matrix: C, shape (S, S), unit diagonal except for zero rows.
        norms: n, shape (S,).
        inverse_norms: 1/n, shape (S,), 0 for zero rows.
        is_nonzero: shape (S,).
    """

    matrix: Tensor
    norms: Tensor
    inverse_norms: Tensor
    is_nonzero: Tensor

    def solve(self, right: Tensor, cutoff: float) -> Solution:
        """C^+ r for r (S,), eigenvalues below ``cutoff`` times the largest one taken as 0."""
        right = torch.where(self.is_nonzero, right.to(self.matrix), 0)
        values, vectors = eigen(self.matrix)
        kept = values > cutoff * values[-1:].clamp(min=0)
        inverse = torch.where(kept, 1 / torch.where(kept, values, 1), 0)
        parts = torch.where(kept, vectors.T @ right, 0)
        # Where r lies in the null space of C, what is left of it is rounding: no solution.
        reached, wanted = parts.square().sum(), right.square().sum()
        exists = reached > _ROUNDING * wanted
        return Solution(torch.where(exists, vectors @ (inverse * parts), 0), exists, reached >= _NEARLY * wanted)


@dataclass(frozen=True)
class Solution:
    """C^+ r, and whether there is one.

    Args:
        vector: shape (S,); 0 where there is none.
        exists: scalar bool; False where r is orthogonal to every row of C (opposite gradients) or is 0.
        is_exact: scalar bool; False where the vector is a least-squares solution only.
    """

    vector: Tensor
    exists: Tensor
    is_exact: Tensor


_ROUNDING = 1e-24  # relative to the square of the right-hand side
_NEARLY = 1 - 1e-6  # share of the square of the right-hand side that an exact solution reaches


def cosines(gramian: Tensor) -> Cosines:
    """Lengths and angles from a Gramian (S, S)."""
    squares = gramian.diagonal()
    is_nonzero = squares > 0
    norms = torch.where(is_nonzero, squares, 0).sqrt()
    inverse = torch.where(is_nonzero, 1 / torch.where(is_nonzero, norms, 1), 0)
    matrix = inverse.unsqueeze(1) * gramian * inverse
    identity = torch.eye(len(norms), dtype=gramian.dtype, device=gramian.device)
    unit = identity * is_nonzero
    return Cosines(torch.where(identity.bool(), unit, matrix), norms, inverse, is_nonzero)
