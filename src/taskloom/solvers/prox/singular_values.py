"""Proximal operators that act on singular values: trace norm, its square, and its ball.

With ``V = U diag(s) W'`` and a function of the singular values alone, the proximal operator is ``U diag(x) W'`` with x
the proximal operator of the function at s.

    trace norm:                x = max(s - tau, 0)
    (tau / 2) square of it:    x = max(s - theta, 0) with theta = tau sum(x)
    ball of the trace norm:    x = projection of s on the l1 ball

Source:
    Cai, Candès, Shen, "A singular value thresholding algorithm for matrix completion", SIAM J. Optim. 2010; the
    thresholds of the square follow from its optimality conditions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from taskloom.solvers.prox.l1_ball import project_l1_ball

__all__ = ["on_singular_values", "project_trace_ball", "shrink_singular_values", "shrink_squared", "singular_values"]

Array = NDArray[np.float64]

# Squaring a matrix halves the digits of its small singular values: those below this share of the largest are not
# trusted. A short side that is this many times shorter makes the squared form worth trying.
_TRUSTED = 1e-7
_MUCH_SHORTER = 4


def singular_values(V: Array) -> Array:
    """All singular values, decreasing.

    Args:
        V: shape (R, K).

    Returns:
        shape (min(R, K),).

    Example:
        >>> singular_values(np.diag([2.0, 3.0]))
        array([3., 2.])
    """
    values: Array = scipy.linalg.svd(V, compute_uv=False, check_finite=False)
    return values


def on_singular_values(V: Array, change: Callable[[Array], Array]) -> Array:
    """Replace the singular values s of a matrix by ``change(s)``, which is not negative and 0 where s is 0.

    Args:
        V: shape (R, K).
        change: from the singular values, decreasing, to the new ones.

    Returns:
        shape (R, K).

    Example:
        >>> on_singular_values(np.diag([2.0, 3.0]), lambda s: s / 2)
        array([[1. , 0. ],
               [0. , 1.5]])
    """
    if min(V.shape) == 0:
        return V.copy()
    long, short = max(V.shape), min(V.shape)
    if long >= _MUCH_SHORTER * short:
        found = _by_eigenvectors(V if V.shape[1] == short else V.T, change)
        if found is not None:
            return found if V.shape[1] == short else found.T
    left, values, right = scipy.linalg.svd(V, full_matrices=False, check_finite=False)
    changed = change(values)
    kept = changed > 0
    product: Array = (left[:, kept] * changed[kept]) @ right[kept]
    return product


def _by_eigenvectors(V: Array, change: Callable[[Array], Array]) -> Array | None:
    """``V W diag(x / s) W'`` with the eigenvectors W of ``V'V``; None if a singular value that counts is too small."""
    squares, vectors = scipy.linalg.eigh(V.T @ V, check_finite=False)
    values = np.sqrt(np.maximum(squares[::-1], 0.0))
    changed = change(values)
    kept = changed > 0
    if not kept.any():
        return np.zeros_like(V)
    if values[kept][-1] <= _TRUSTED * values[0]:
        return None
    basis = vectors[:, ::-1][:, kept]
    product: Array = V @ ((basis * (changed[kept] / values[kept])) @ basis.T)
    return product


def shrink_singular_values(V: Array, tau: float) -> Array:
    """Proximal operator of tau times the trace norm.

    Args:
        V: shape (R, K).
        tau: not negative.

    Returns:
        shape (R, K), of a rank that is exactly lower where singular values are below tau.

    Example:
        >>> shrink_singular_values(np.diag([2.0, 0.5]), 1.0)
        array([[1., 0.],
               [0., 0.]])
    """
    return on_singular_values(V, lambda s: np.maximum(s - tau, 0.0))


def shrink_squared(V: Array, tau: float) -> Array:
    """Proximal operator of tau / 2 times the squared trace norm.

    Args:
        V: shape (R, K).
        tau: not negative.

    Returns:
        shape (R, K).

    Example:
        >>> shrink_squared(np.diag([3.0, 0.5]), 1.0)
        array([[1.5, 0. ],
               [0. , 0. ]])
    """
    return on_singular_values(V, lambda s: _shrunk_by_their_sum(s, tau))


def _shrunk_by_their_sum(s: Array, tau: float) -> Array:
    """``max(s - theta, 0)`` with ``theta = tau C_k / (1 + tau k)`` for the largest k whose value exceeds it."""
    thresholds = tau * np.cumsum(s) / (1 + tau * np.arange(1, len(s) + 1))
    above = np.flatnonzero(s > thresholds)
    return np.maximum(s - thresholds[above[-1]], 0.0) if len(above) else np.zeros_like(s)


def project_trace_ball(V: Array, radius: float) -> Array:
    """Nearest matrix with a trace norm of at most the radius.

    Args:
        V: shape (R, K).
        radius: not negative.

    Returns:
        shape (R, K).

    Example:
        >>> project_trace_ball(np.diag([3.0, 1.0]), 2.0)
        array([[2., 0.],
               [0., 0.]])
    """
    return on_singular_values(V, lambda s: project_l1_ball(s[None], radius)[0])
