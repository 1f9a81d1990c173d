"""Projections on the simplex."""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.errors import BalanceError

__all__ = ["project", "project_simplex"]


def project_simplex(v: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Nearest point with entries between ``low`` and ``high`` that sum to 1, along the last axis.

    Tensor operations only: it runs under every transform and on every device, and lets gradients pass.

    Args:
        v: shape (..., S).
        low: smallest entry, at most 1 / S.
        high: largest entry, at least 1 / S.

    Returns:
        shape (..., S).

    Raises:
        BalanceError: no point satisfies the bounds.

    Example:
        >>> project_simplex(torch.tensor([0.5, 0.8, -1.0]))
        tensor([0.3500, 0.6500, 0.0000])
        >>> project_simplex(torch.tensor([0.5, 0.8, -1.0]), low=0.1, high=0.5)
        tensor([0.4000, 0.5000, 0.1000])
    """
    n = v.shape[-1]
    if not low * n <= 1 + 1e-12 <= high * n + 2e-12:
        raise BalanceError(f"no {n} numbers between {low} and {high} sum to 1; {low} <= 1/{n} <= {high} is needed")
    left = 1 - low * n  # what is to be shared out above the lower bound
    if low + left <= high:
        ordered = v.sort(dim=-1, descending=True).values
        counts = torch.arange(1, n + 1, dtype=v.dtype, device=v.device)
        thresholds = (ordered.cumsum(-1) - left) / counts  # of the first 1, 2, ... entries alone
        last = (ordered > thresholds).sum(-1, keepdim=True).clamp(min=1) - 1
        return (v - thresholds.gather(-1, last)).clamp(min=0) + low
    # bisection for the shift that makes the clipped entries sum to 1, then its value on the entries between the bounds
    smallest, largest = v.amin(-1, keepdim=True) - high, v.amax(-1, keepdim=True) - low
    for _ in range(_BISECTIONS):
        middle = (smallest + largest) / 2
        too_small = (v - middle).clamp(low, high).sum(-1, keepdim=True) > 1
        smallest, largest = torch.where(too_small, middle, smallest), torch.where(too_small, largest, middle)
    clipped = (v - (smallest + largest) / 2).clamp(low, high)
    free = (clipped > low) & (clipped < high)
    excess = clipped.sum(-1, keepdim=True) - 1
    return (clipped - free * excess / free.sum(-1, keepdim=True).clamp(min=1)).clamp(low, high)


_BISECTIONS = 60


def project(point: Tensor, is_there: Tensor) -> Tensor:
    """The nearest point of the simplex of the tasks that are there, shape (S,); exactly 0 for absent ones."""
    # Whatever lies more than 1 below the largest entry is projected to 0, so that absent tasks take no part.
    highest = torch.where(is_there, point, -torch.inf).amax().nan_to_num(neginf=0.0)
    return torch.where(is_there, project_simplex(torch.where(is_there, point, highest - 2)), 0)
