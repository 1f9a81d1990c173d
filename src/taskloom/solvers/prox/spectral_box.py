"""Weights between two bounds with a given sum, and the quadratic penalty that is smallest over them.

For values ``s >= 0`` the function

    omega(s) = min { sum_i s_i^2 / (2 theta_i) : low <= theta_i <= high, sum_i theta_i = total }

is attained at ``theta_i = clip(s_i / nu, low, high)``; its proximal operator is
``x_i = s_i theta_i / (theta_i + tau)`` with ``theta_i = clip(s_i / nu - tau, low, high)``. In ``1 / nu`` the sum is
piecewise linear and increasing: sorting its 2K bends solves it exactly.

Source:
    Jacob, Bach, Vert, "Clustered multi-task learning: a convex formulation", NIPS 2008; proximal operator: McDonald,
    Pontil, Stamos, "New perspectives on k-support and cluster norms", JMLR 2016.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["shrink_in_box", "weights_in_box"]

Array = NDArray[np.float64]


def weights_in_box(s: Array, tau: float, *, low: float, high: float, total: float) -> Array:
    """The weights theta of the proximal operator; with tau = 0 those of the function itself.

    Args:
        s: not negative, shape (K,).
        tau: not negative.
        low: smallest weight, positive.
        high: largest weight, at least ``low``.
        total: sum of the weights, between ``K low`` and ``K high``. What the positive s leave over at their upper
            bound is shared by those that are zero.

    Returns:
        shape (K,).

    Example:
        >>> weights_in_box(np.array([2.0, 1.0, 0.0]), 0.0, low=0.1, high=1.0, total=1.6)
        array([1. , 0.5, 0.1])
    """
    positive = s > 0
    theta = np.full_like(s, low)
    n_zero = len(s) - np.count_nonzero(positive)
    budget = total - n_zero * low
    if not positive.any() or budget >= high * (len(s) - n_zero):
        theta[positive] = high
        if n_zero:
            theta[~positive] = (total - high * (len(s) - n_zero)) / n_zero
        return theta
    theta[positive] = _filled(s[positive], tau, low, high, budget)
    return theta


def _filled(s: Array, tau: float, low: float, high: float, budget: float) -> Array:
    """``clip(s c - tau, low, high)`` with the c that makes them sum to the budget."""
    starts, ends = (low + tau) / s, (high + tau) / s
    bends = np.concatenate([starts, ends])
    order = np.argsort(bends, kind="stable")
    bends = bends[order]
    rates = np.cumsum(np.concatenate([s, -s])[order])  # slope of the sum to the right of each bend
    sums = low * len(s) + np.concatenate([[0.0], np.cumsum(rates[:-1] * np.diff(bends))])
    place = int(np.clip(np.searchsorted(sums, budget, side="right") - 1, 0, len(bends) - 1))
    left = max(budget - sums[place], 0.0)
    rate = s[(starts <= bends[place]) & (ends > bends[place])].sum()  # summed anew: cumulative sums lose digits
    c = bends[place] + (left / rate if rate > 0 else 0.0)
    filled: Array = np.clip(s * c - tau, low, high)
    return filled


def shrink_in_box(s: Array, tau: float, *, low: float, high: float, total: float) -> Array:
    """Proximal operator of tau times omega.

    Args:
        s: not negative, shape (K,).
        tau: not negative.
        low: smallest weight, positive.
        high: largest weight.
        total: sum of the weights.

    Returns:
        shape (K,).

    Example:
        >>> shrink_in_box(np.array([2.0, 0.0]), 1.0, low=1.0, high=1.0, total=2.0)
        array([1., 0.])
    """
    theta = weights_in_box(s, tau, low=low, high=high, total=total)
    return s * theta / (theta + tau)
