"""What estimators with few directions of coefficients have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.solvers.prox.singular_values import singular_values

__all__ = ["rank_of", "ridge_alone", "root_of_gram"]

Array = NDArray[np.float64]

SMALLEST = 1e-8  # singular values below this share of the largest count as 0


def rank_of(coef: Array) -> int:
    """Number of singular values that are not 0; proximal steps make them exactly 0 up to rounding.

    Args:
        coef: (T, d).
    """
    s = singular_values(coef)
    return int(np.count_nonzero(s > SMALLEST * s[0])) if s.any() else 0


def ridge_alone(n_tasks: int, l2: float) -> TaskCoupling | None:
    """``l2 / 2 ||A||^2``, which has a solution in closed form; None without it.

    Args:
        n_tasks: T.
        l2: strength, at least 0.
    """
    return TaskCoupling.to_mean(n_tasks, alpha=l2, coupling=1.0) if l2 > 0 else None


def root_of_gram(rows: Array) -> Array:
    """``(R R')^(1/2)`` divided by its trace; for R = 0 the identity divided by its trace.

    Args:
        rows: R, shape (m, k).

    Returns:
        shape (m, m), symmetric, trace 1.
    """
    left, s, _ = np.linalg.svd(rows, full_matrices=False)
    if not s.any():
        return np.eye(len(rows)) / len(rows)
    root: Array = (left * (s / s.sum())) @ left.T
    return root
