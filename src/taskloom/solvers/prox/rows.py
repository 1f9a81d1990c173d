"""Rows under l_q norms with a q of their own: the closed forms where there are any, Newton's method elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers.prox.groups import shrink_rows
from taskloom.solvers.prox.l1_ball import clip_rows
from taskloom.solvers.prox.powers import shrink_rows_power
from taskloom.solvers.prox.soft import soft_threshold

__all__ = ["shrink_rows_norm"]

Array = NDArray[np.float64]


def shrink_rows_norm(V: Array, tau: float | Array, *, q: float | Array) -> Array:
    """Proximal operator of ``tau ||.||_q`` on every row.

    Args:
        V: shape (R, K).
        tau: not negative; a number or shape (R,).
        q: at least 1, infinity included; a number or shape (R,).

    Returns:
        shape (R, K).

    Example:
        >>> shrink_rows_norm(np.array([[3.0, 4.0], [3.0, 4.0]]), 1.0, q=np.array([1.0, np.inf]))
        array([[2., 3.],
               [3., 3.]])
    """
    if np.ndim(q) == 0:
        return _one(V, tau, float(q))
    powers = np.asarray(q, dtype=np.float64)
    taus = np.broadcast_to(np.asarray(tau, dtype=np.float64), len(V))
    result = np.empty_like(V)
    is_general = ~np.isin(powers, (1.0, 2.0, np.inf))
    for power in np.unique(powers[~is_general]):
        chosen = powers == power
        result[chosen] = _one(V[chosen], taus[chosen], float(power))
    if is_general.any():
        result[is_general] = shrink_rows_power(V[is_general], taus[is_general], q=powers[is_general])
    return result


def _one(V: Array, tau: float | Array, q: float) -> Array:
    if q == 1:
        return soft_threshold(V, tau if np.ndim(tau) == 0 else np.asarray(tau)[:, None])
    if q == 2:
        return shrink_rows(V, tau)
    return clip_rows(V, tau) if np.isinf(q) else shrink_rows_power(V, tau, q=q)
