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


def has_no_solution(terms: Tensor, gramian: Tensor) -> Tensor:
    """Whether a method's equation, one term that should be 1 for every row that is not zero, is missed, bool ().

    At Pareto stationary points, where no direction improves all tasks, there is nothing that solves such an equation.
    """
    return terms.sum() < _NEARLY * torch.count_nonzero(gramian.diagonal())


_NEARLY = 1 - 1e-3  # solved terms are 1 to rounding; in a fall-back those of at least two tasks are far from it
