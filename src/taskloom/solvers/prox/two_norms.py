"""Rows written as a sum of two parts under different norms: the proximal operator of the cheapest such sum.

    h(x) = min { tau ||p||_q + tau_entries ||r||_1 : p + r = x }

Its conjugate is the indicator of the intersection of two balls, so by Moreau's identity the proximal operator at v is v
minus the projection of v on ``{||g||_{q*} <= tau, max_t |g_t| <= tau_entries}``. For q = inf the first ball is an l1
ball: the projection is ``sign(v) clip(|v| - theta, 0, tau_entries)`` with one theta per row. For other q it is found by
Dykstra's alternating projections.

Source:
    Boyle, Dykstra, "A method for finding projections onto the intersection of convex sets in Hilbert spaces", 1986.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers.prox.powers import power_norms
from taskloom.solvers.prox.rows import shrink_rows_norm

__all__ = ["project_ball_and_box", "shrink_rows_split"]

Array = NDArray[np.float64]

_MOST_PROJECTIONS = 10_000


def shrink_rows_split(V: Array, tau: float, *, tau_entries: float, q: float) -> Array:
    """Proximal operator of the cheapest split of every row.

    Args:
        V: shape (R, K).
        tau: price of the norm ``||.||_q``, not negative.
        tau_entries: price of the sum of absolute values, not negative.
        q: at least 1, infinity included.

    Returns:
        shape (R, K).

    Example:
        >>> shrink_rows_split(np.array([[3.0, 0.2, 0.1]]), 2.0, tau_entries=1.0, q=np.inf)
        array([[2., 0., 0.]])
    """
    if np.isinf(q):
        return V - project_ball_and_box(V, tau, side=tau_entries)
    projected = _by_dykstra(V, tau, tau_entries, q)
    return V - projected


def project_ball_and_box(V: Array, radius: float, *, side: float) -> Array:
    """Nearest points with ``||x||_1 <= radius`` and ``|x_t| <= side``.

    Args:
        V: shape (R, K).
        radius: not negative.
        side: not negative.

    Returns:
        shape (R, K).

    Example:
        >>> project_ball_and_box(np.array([[3.0, 2.5, 0.0]]), 1.5, side=1.0)
        array([[1. , 0.5, 0. ]])
    """
    sizes = np.abs(V)
    clipped = np.minimum(sizes, side)
    outside = clipped.sum(1) > radius
    for row in np.flatnonzero(outside):
        clipped[row] = np.clip(sizes[row] - _common_threshold(sizes[row], radius, side), 0.0, side)
    return np.copysign(clipped, V)


def _common_threshold(sizes: Array, radius: float, side: float) -> float:
    """The theta >= 0 with ``sum clip(sizes - theta, 0, side) = radius``; the sum falls, linear between its bends."""
    bends = np.unique(np.concatenate([[0.0], sizes, np.maximum(sizes - side, 0.0)]))
    sums = np.clip(sizes[None] - bends[:, None], 0.0, side).sum(1)
    place = int(np.flatnonzero(sums >= radius)[-1])
    if place == len(bends) - 1 or sums[place] == sums[place + 1]:
        return float(bends[place])
    share = (sums[place] - radius) / (sums[place] - sums[place + 1])
    return float(bends[place] + share * (bends[place + 1] - bends[place]))


def _by_dykstra(V: Array, radius: float, side: float, q: float) -> Array:
    dual = 1.0 if np.isinf(q) else (np.inf if q == 1 else q / (q - 1))
    x, ball_memory, box_memory = V, np.zeros_like(V), np.zeros_like(V)
    for _ in range(_MOST_PROJECTIONS):
        shifted = x + ball_memory
        on_ball = shifted - shrink_rows_norm(shifted, radius, q=q)
        ball_memory = shifted - on_ball
        shifted = on_ball + box_memory
        following = np.clip(shifted, -side, side)
        box_memory = shifted - following
        moved = np.abs(following - x).max(initial=0.0)
        x = following
        if moved <= 1e-15 * max(side, 1e-300) and np.all(power_norms(x, dual) <= radius * (1 + 1e-13)):
            break
    return x
