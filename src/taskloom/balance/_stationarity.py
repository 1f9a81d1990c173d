"""How far a step is from Pareto stationarity."""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.balance._cosines import cosines
from taskloom.balance._solve import min_norm

__all__ = ["stationarity"]


def stationarity(gramian: Tensor) -> Tensor:
    """Min v^T C v over the simplex, scalar: 0 where no direction improves all tasks. Zero rows do not count."""
    angles = cosines(gramian)
    weights = min_norm(angles.matrix, active=angles.is_nonzero)
    return torch.where(angles.is_nonzero.any(), weights @ angles.matrix @ weights, torch.inf)
