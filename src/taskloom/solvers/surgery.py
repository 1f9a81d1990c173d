"""Gradient surgery: vectors from which the components that oppose others are removed, from inner products.

For every vector i, start from ``x = g_i`` and visit the others j; where ``x . g_j < 0``,

    x <- x - (x . g_j / ||g_j||^2) g_j

With ``x = J^T c``: ``x . g_j = (G c)_j``. All vectors make their n-th visit together: K - 1 visits of K^2 operations.

Source:
    Yu, Kumar, Gupta, Levine, Hausman, Finn, "Gradient Surgery for Multi-Task Learning", NeurIPS 2020, arXiv 2001.06782.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import IS_COMPILED, compiled

__all__ = ["IS_COMPILED", "without_conflicts"]

Array = NDArray[np.float64]


def without_conflicts(G: Array, keys: Array) -> Array:
    """Coefficients of the projected vectors.

    Args:
        G: inner products of the vectors, shape (K, K).
        keys: shape (K, K); vector i visits the others by ascending ``keys[i]``.

    Returns:
        C, shape (K, K), whose rows are the c. Nothing is projected on a vector of length zero.

    Example:
        >>> without_conflicts(np.array([[1.0, -1.0], [-1.0, 4.0]]), np.zeros((2, 2)))
        array([[1.  , 0.25],
               [1.  , 1.  ]])
    """
    # A vector never visits itself: several code bases let it, which changes the sum in heavily conflicting sets.
    keys = np.where(np.eye(len(G), dtype=np.bool_), np.inf, keys)
    visits = np.ascontiguousarray(keys.argsort(axis=1, kind="stable")[:, : len(G) - 1].T)
    return _projected(np.ascontiguousarray(G), visits)


@compiled
def _projected(G: Array, visits: NDArray[np.intp]) -> Array:
    n = G.shape[0]
    squares = np.diag(G)
    inverse = np.where(squares > 0, 1.0 / np.where(squares > 0, squares, 1.0), 0.0)
    mix = np.eye(n)
    inner = G.copy()  # x_i . g_j
    # the same memory as one row, for one entry of every row at a time
    flat_mix, flat_inner = mix.reshape(-1), inner.reshape(-1)
    for visit in range(n - 1):
        partner = visits[visit]
        place = np.arange(n) * n + partner
        step = np.minimum(flat_inner[place], 0.0) * inverse[partner]
        flat_mix[place] -= step
        inner -= step.reshape(-1, 1) * G[partner]
    return mix
