"""Projection on balls of the l1 norm, and what follows from it: the proximal operator of the largest absolute value.

With ``|v|`` sorted decreasingly and its cumulative sums ``C_k``, the projection on ``{||x||_1 <= tau}`` shrinks every
entry by ``theta = (C_k - tau) / k`` for the largest k whose entry exceeds it. By Moreau's identity

    prox of tau max_i |x_i|:  v - projection(v)

Source:
    Duchi, Shalev-Shwartz, Singer, Chandra, "Efficient projections onto the l1-ball", ICML 2008.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers.prox.soft import soft_threshold

__all__ = ["clip_rows", "project_l1_ball"]

Array = NDArray[np.float64]


def project_l1_ball(V: Array, radius: float | Array) -> Array:
    """Nearest points with a sum of absolute values of at most the radius.

    Args:
        V: shape (R, K).
        radius: not negative; a number or shape (R,).

    Returns:
        shape (R, K); rows inside are returned as they are.

    Example:
        >>> project_l1_ball(np.array([[3.0, -1.0], [0.2, 0.1]]), 1.0)
        array([[1. , 0. ],
               [0.2, 0.1]])
    """
    radii = np.broadcast_to(np.asarray(radius, dtype=np.float64), len(V))
    return soft_threshold(V, _thresholds(V, radii)[:, None])


def clip_rows(V: Array, tau: float | Array) -> Array:
    """Proximal operator of tau times the largest absolute value of a row: large entries are clipped to one size.

    Args:
        V: shape (R, K).
        tau: not negative; a number or shape (R,).

    Returns:
        shape (R, K); rows whose absolute values sum to at most tau are exactly zero.

    Example:
        >>> clip_rows(np.array([[3.0, -1.0], [0.2, 0.1]]), 1.0)
        array([[ 2., -1.],
               [ 0.,  0.]])
    """
    radii = np.broadcast_to(np.asarray(tau, dtype=np.float64), len(V))
    sums = np.abs(V).sum(1)
    levels = np.where(sums > radii, _thresholds(V, radii), 0.0)[:, None]
    return np.clip(V, -levels, levels)


def _thresholds(V: Array, radii: Array) -> Array:
    """By how much every row has to be shrunk: 0 for rows inside the ball. Shape (R,)."""
    sizes = np.abs(V)
    if V.shape[1] == 0:
        return np.zeros(len(V))
    ordered = -np.sort(-sizes, axis=1)
    candidates = (np.cumsum(ordered, axis=1) - radii[:, None]) / np.arange(1, V.shape[1] + 1)
    last = np.maximum(np.count_nonzero(ordered > candidates, axis=1), 1) - 1
    return np.maximum(np.take_along_axis(candidates, last[:, None], axis=1)[:, 0], 0.0)
