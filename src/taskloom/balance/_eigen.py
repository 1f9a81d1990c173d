"""Eigendecomposition of K x K matrices, one of which may be lost."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["eigen"]


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues in ascending order (S,), and eigenvectors as columns (S, S), of a symmetric matrix (S, S).

    NaN for a matrix that is not finite: where many networks train at once, one that diverges must not stop the others.
    """
    is_finite = matrix.isfinite().all()
    values, vectors = torch.linalg.eigh(torch.where(is_finite, matrix, 0))
    return torch.where(is_finite, values, torch.nan), vectors
