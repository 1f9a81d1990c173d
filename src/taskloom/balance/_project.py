"""Projection on the simplex of the tasks that are there."""

from __future__ import annotations

import torch
from torch import Tensor

from taskloom.balance._solve import project_simplex

__all__ = ["project"]


def project(point: Tensor, is_there: Tensor) -> Tensor:
    """The nearest point of the simplex of the tasks that are there, shape (S,); exactly 0 for absent ones."""
    # Whatever lies more than 1 below the largest entry is projected to 0, so that absent tasks take no part.
    highest = torch.where(is_there, point, -torch.inf).amax().nan_to_num(neginf=0.0)
    return torch.where(is_there, project_simplex(torch.where(is_there, point, highest - 2)), 0)
