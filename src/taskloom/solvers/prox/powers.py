"""Shrinking rows under the l_q norm, 1 < q < inf.

    prox(v) = argmin ||x - v||_2^2 / 2 + tau ||x||_q

It is 0 exactly when ``||v||_{q/(q-1)} <= tau``. Otherwise write ``x = nu y`` with ``nu = ||x||_q > 0``: the optimality
conditions become, for absolute values, one scalar equation per entry and one per row,

    nu y_t + tau y_t^(q-1) = |v_t|,    ||y||_q = 1

The left side of the first is increasing in ``y_t``, and ``||y||_q`` is decreasing in ``nu`` with its root in
``(0, ||v||_q]``. For q < 2 the entry's equation is solved in ``z = y^(q-1)``, whose slope stays finite at 0. Written
in y, no power overflows, whatever q. Both equations are solved by Newton's method, the outer one kept in a bracket.

Source:
    Liu, Ye, "Efficient l1/lq norm regularization", 2010, arXiv 1009.4766 (the zero test and the one-dimensional root).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["power_norms", "shrink_rows_power"]

Array = NDArray[np.float64]

_MOST_STEPS = 100
_PRECISION = 16 * float(np.finfo(np.float64).eps)


def power_norms(V: Array, q: float | Array) -> Array:
    """The l_q norm of every row.

    Args:
        V: shape (R, K).
        q: at least 1, infinity included; a number or shape (R,).

    Returns:
        shape (R,).

    Example:
        >>> power_norms(np.array([[3.0, -4.0], [3.0, -4.0]]), np.array([2.0, np.inf]))
        array([5., 4.])
    """
    if np.ndim(q) == 0 and q == 2:
        lengths: Array = np.sqrt(np.einsum("rk,rk->r", V, V))
        return lengths
    sizes = np.abs(V)
    if np.ndim(q) == 0 and q == 1:
        ones: Array = sizes.sum(1)
        return ones
    largest: Array = sizes.max(axis=1, initial=0.0)
    if np.ndim(q) == 0 and np.isinf(q):
        return largest
    powers = np.broadcast_to(np.asarray(q, dtype=np.float64), len(V))
    is_finite = np.isfinite(powers) & (largest > 0)
    norms = largest.copy()
    scaled = sizes[is_finite] / largest[is_finite, None]
    exponents = powers[is_finite]
    norms[is_finite] *= (scaled ** exponents[:, None]).sum(1) ** (1 / exponents)
    return norms


def shrink_rows_power(V: Array, tau: float | Array, *, q: float | Array) -> Array:
    """Proximal operator of ``tau ||.||_q`` on every row.

    Args:
        V: shape (R, K).
        tau: not negative; a number or shape (R,).
        q: above 1 and finite; a number or shape (R,).

    Returns:
        shape (R, K).

    Example:
        >>> shrink_rows_power(np.array([[3.0, 4.0]]), 1.0, q=2.0)
        array([[2.4, 3.2]])
        >>> shrink_rows_power(np.array([[3.0, 4.0]]), 1.0, q=1e3).round(2)
        array([[3., 3.]])
    """
    n_rows = len(V)
    taus = np.broadcast_to(np.asarray(tau, dtype=np.float64), n_rows)
    powers = np.broadcast_to(np.asarray(q, dtype=np.float64), n_rows)
    result = np.where((taus == 0)[:, None], V, 0.0)
    moving = (taus > 0) & (power_norms(V, powers / (powers - 1)) > taus)
    if moving.any():
        sizes = np.abs(V[moving])
        result[moving] = np.copysign(_lengths(sizes, taus[moving], powers[moving]), V[moving])
    return result


def _lengths(sizes: Array, tau: Array, q: Array) -> Array:
    """Absolute values of rows that are not zero: the root in nu, by Newton's method within a bracket."""
    largest = sizes.max(1)
    sizes, tau = sizes / largest[:, None], tau / largest  # nothing depends on the scale
    low, high = np.zeros_like(tau), power_norms(sizes, q)
    nu = np.maximum(high - tau, high / 2)
    reachable = _PRECISION * np.maximum(1.0, 1 / (q - 1))  # y is a power 1 / (q - 1) of what is computed
    for _ in range(_MOST_STEPS):
        y = _entries(sizes, nu, tau, q)
        excess, slope = _excess(y, nu, tau, q)
        low, high = np.where(excess > 0, nu, low), np.where(excess > 0, high, nu)
        step = nu - excess / slope
        following = np.where((step > low) & (step < high), step, (low + high) / 2)
        if np.all((np.abs(following - nu) <= _PRECISION * nu) | (np.abs(excess) <= reachable)):
            break
        nu = following
    x: Array = nu[:, None] * _entries(sizes, nu, tau, q) * largest[:, None]
    return x


def _excess(y: Array, nu: Array, tau: Array, q: Array) -> tuple[Array, Array]:
    """``||y||_q - 1`` of every row and its derivative in nu."""
    exponents = q[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        flatness = nu[:, None] + tau[:, None] * (exponents - 1) * y ** (exponents - 2)
        falling = np.where(y > 0, y**exponents / flatness, 0.0).sum(1)
    total = (y**exponents).sum(1)
    norm = total ** (1 / q)
    return norm - 1, -falling * norm / total


def _entries(sizes: Array, nu: Array, tau: Array, q: Array) -> Array:
    """Roots y of ``nu y + tau y^(q-1) = sizes``, by Newton's method from above: both forms are convex."""
    is_flat = q < 2
    linear = np.where(is_flat, tau, nu)[:, None]
    other = np.where(is_flat, nu, tau)[:, None]
    exponent = np.where(is_flat, 1 / (q - 1), q - 1)[:, None]
    root = np.minimum(sizes / linear, (sizes / other) ** (1 / exponent))
    for _ in range(_MOST_STEPS):
        power = root ** (exponent - 1)
        step = (linear * root + other * root * power - sizes) / (linear + other * exponent * power)
        root = np.maximum(root - step, 0.0)
        if np.all(step <= _PRECISION * root):
            break
    y: Array = np.where(is_flat[:, None], root**exponent, root)
    return y
