"""Projection of combinations of K vectors on their dual cone, from inner products.

Projecting ``J^T u`` on ``{x : J x >= 0}`` gives ``J^T v`` with

    v = argmin v^T G v  over v >= u,    v = u + z,   z = argmin z^T G z / 2 + (G u)^T z  over z >= 0

which is bounded for every Gramian, so no ridge is needed; ``J^T v`` is unique even where v is not.

Source:
    Quinton, Rey, "Jacobian Descent for Multi-Objective Optimization", 2024, arXiv 2406.16232.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers.quadratic import nonnegative

__all__ = ["dual_cone"]

Array = NDArray[np.float64]


def dual_cone(G: Array, u: Array) -> Array:
    """Coefficients of the projections.

    Args:
        G: inner products of the vectors, shape (K, K).
        u: coefficients of the combinations to project, shape (R, K).

    Returns:
        v, shape (R, K), with ``G v >= 0`` and ``v >= u``.

    Example:
        >>> dual_cone(np.array([[1.0, -1.0], [-1.0, 4.0]]), np.eye(2))
        array([[1.  , 0.25],
               [1.  , 1.  ]])
    """
    return u + nonnegative(G, u @ G)
