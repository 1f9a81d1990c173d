"""Rows whose neighbouring entries are drawn together: the proximal operator of the total variation along a row.

    prox(v) = argmin ||x - v||_2^2 / 2 + tau sum_t |x_{t+1} - x_t|

By dynamic programming: with ``x_t`` fixed, the best cost of the entries before it is a convex function whose
derivative is piecewise linear; going one entry further clips the derivative to ``[-tau, tau]`` and adds ``x - v_t``.
The two places where it is clipped are remembered; going back from the last entry, every ``x_t`` is ``x_{t+1}`` clipped
to its two places. Every knot is made once and removed at most once, so a row of K entries costs O(K).

Absolute values and the Euclidean norm of the row may join, in this order: total variation, entries, row.

Source:
    Johnson, "A dynamic programming algorithm for the fused lasso and L0-segmentation", J. Comput. Graph. Stat. 2013;
    composition: Friedman, Hastie, Höfling, Tibshirani, "Pathwise coordinate optimization", Ann. Appl. Stat. 2007; Zhou,
    Liu, Narayan, Ye, "Modeling disease progression via fused sparse group lasso", KDD 2012.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled

__all__ = ["smooth_rows"]

Array = NDArray[np.float64]


def smooth_rows(V: Array, tau: float) -> Array:
    """Proximal operator of tau times the total variation of every row.

    Args:
        V: shape (R, K).
        tau: not negative.

    Returns:
        shape (R, K).

    Example:
        >>> smooth_rows(np.array([[0.0, 0.0, 3.0, 3.0]]), 1.0)
        array([[0.5, 0.5, 2.5, 2.5]])
    """
    if V.shape[1] < 2 or tau == 0:
        return V.copy()
    result = np.empty_like(V, order="C")
    _smooth(np.ascontiguousarray(V), float(tau), result)
    return result


@compiled
def _smooth(V: Array, tau: float, result: Array) -> None:
    n_rows, n = V.shape
    # The derivative of the best cost: knots in increasing order at places[first:last + 1]; beyond each knot slope and
    # offset change by what is stored with it. Left of all knots the derivative is -tau, right of them tau.
    places = np.empty(2 * n)
    slopes = np.empty(2 * n)
    offsets = np.empty(2 * n)
    lower = np.empty(n)
    upper = np.empty(n)
    for row in range(n_rows):
        v = V[row]
        x = result[row]
        first, last = n, n - 1
        for t in range(n - 1):
            # the derivative rises from -tau (from 0 for the first entry) by x - v_t on the left, mirrored on the right
            edge = tau if t > 0 else 0.0
            slope = 1.0
            offset = -v[t] - edge
            while first <= last and slope * places[first] + offset <= -tau:
                slope += float(slopes[first])
                offset += offsets[first]
                first += 1
            slope_right = 1.0
            offset_right = -v[t] + edge
            while last >= first and slope_right * places[last] + offset_right >= tau:
                slope_right -= float(slopes[last])
                offset_right -= offsets[last]
                last -= 1
            lower[t] = (-tau - offset) / slope
            upper[t] = (tau - offset_right) / slope_right
            first -= 1
            places[first] = lower[t]
            slopes[first] = slope
            offsets[first] = offset + tau
            last += 1
            places[last] = upper[t]
            slopes[last] = -slope_right
            offsets[last] = tau - offset_right
        slope = 1.0
        offset = -v[n - 1] - tau
        while first <= last and slope * places[first] + offset <= 0:
            slope += float(slopes[first])
            offset += offsets[first]
            first += 1
        x[n - 1] = -offset / slope
        for back in range(1, n):
            t = n - 1 - back
            x[t] = min(max(x[t + 1], lower[t]), upper[t])
