"""The cosine matrix of task gradients, for methods that ignore the length of each gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Cosines", "cosines"]


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
