"""Shrinking whole rows or columns towards zero: the proximal operator of sums of Euclidean norms.

    prox(v) = v max(0, 1 - tau / ||v||_2),    0 at v = 0

Absolute values may join: the proximal operator of ``tau_entries ||v||_1 + tau ||v||_2`` shrinks the entries first.

Source:
    Yuan, Lin, "Model selection and estimation in regression with grouped variables", JRSS B 2006; both norms: Friedman,
    Hastie, Tibshirani, "A note on the group lasso and a sparse group lasso", 2010, arXiv 1001.0736.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers.prox.soft import soft_threshold

__all__ = ["shrink_columns", "shrink_rows", "sparse_shrink_rows"]

Array = NDArray[np.float64]


def shrink_rows(V: Array, tau: float | Array) -> Array:
    """Shorten every row by tau.

    Args:
        V: shape (R, K).
        tau: not negative; a number or shape (R,).

    Returns:
        shape (R, K); rows not longer than tau are exactly zero.

    Example:
        >>> shrink_rows(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0)
        array([[2.4, 3.2],
               [0. , 0. ]])
    """
    tau = np.asarray(tau, dtype=np.float64)
    lengths = np.sqrt(np.einsum("rk,rk->r", V, V))
    factors = 1 - np.divide(tau, lengths, out=np.ones_like(lengths), where=lengths > tau)
    shrunk: Array = V * factors[:, None]
    return shrunk


def shrink_columns(V: Array, tau: float | Array) -> Array:
    """Shorten every column by tau.

    Args:
        V: shape (R, K).
        tau: not negative; a number or shape (K,).

    Returns:
        shape (R, K).

    Example:
        >>> shrink_columns(np.array([[3.0, 0.3], [4.0, 0.4]]), 1.0)
        array([[2.4, 0. ],
               [3.2, 0. ]])
    """
    return shrink_rows(V.T, tau).T


def sparse_shrink_rows(V: Array, tau: float | Array, *, tau_entries: float | Array) -> Array:
    """Shrink the entries of every row by ``tau_entries``, then shorten the row by tau.

    Args:
        V: shape (R, K).
        tau: not negative; a number or shape (R,).
        tau_entries: not negative; a number or shape (R,).

    Returns:
        shape (R, K).

    Example:
        >>> sparse_shrink_rows(np.array([[4.0, 5.0, 0.5]]), 1.0, tau_entries=1.0)
        array([[2.4, 3.2, 0. ]])
    """
    entries = np.asarray(tau_entries, dtype=np.float64)
    return shrink_rows(soft_threshold(V, entries[:, None] if entries.ndim else entries), tau)
