"""Nash bargaining over a direction: the positive solution of ``G a = 1 / a``.

It is the unique minimiser of ``a^T G a / 2 - sum log a_i``, and exists exactly if the origin is not in the convex hull
of the vectors. With ``a = b / n``, n the norms, it reads ``C b = 1 / b`` for the cosines C, which takes the norms out.
Newton's method with the damping of self-concordant functions converges from everywhere; its matrix
``diag(b) C diag(b) + I`` never comes near to singular.

Source:
    Navon, Shamsian, Achituve, Maron, Kawaguchi, Chechik, Fetaya, "Multi-Task Learning as a Bargaining Game", ICML 2022,
    arXiv 2202.01017 (the system; solved there by a sequence of convex programs).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled

__all__ = ["nash", "nash_cosines"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_ROUNDING = 4e-16
_SMALL_STEP = 1e-7  # relative; after a Newton step of this size the error is its square


def nash(G: Array, *, tolerance: float = 0.0, regularise: bool = True) -> Array:
    """Weights of the Nash bargaining solution.

    Args:
        G: inner products of the vectors, shape (K, K). Vectors of length zero get weight 0.
        tolerance: the origin counts as part of the hull when the shortest vector in the hull of the unit vectors has a
            squared length of at most this (never less than rounding in G hides).
        regularise: if it does, solve with ``1e-6`` (or the tolerance, if larger) added to the diagonal of C; else
            return zeros.

    Returns:
        a, shape (K,).

    Example:
        >>> nash(np.array([[1.0, 0.0], [0.0, 4.0]]))
        array([1. , 0.5])
    """
    kept, norms, _, relative = nash_cosines(G, tolerance=tolerance, regularise=regularise)
    weights = np.zeros(len(G))
    weights[kept] = relative / norms
    return weights


def nash_cosines(G: Array, *, tolerance: float, regularise: bool) -> tuple[Indices, Array, Array, Array]:
    """The solution in cosines.

    Args:
        G: as in :func:`nash`.
        tolerance: as in :func:`nash`.
        regularise: as in :func:`nash`.

    Returns:
        which vectors take part (S,), their norms n, the matrix C that was solved with, and b with ``C b = 1 / b``; all
        of b is 0 where there is no solution and none was forced.

    Example:
        >>> nash_cosines(np.diag([1.0, 0.0, 4.0]), tolerance=0.0, regularise=True)[0]
        array([0, 2])
    """
    kept = np.flatnonzero(np.diagonal(G) > 0)
    if len(kept) < len(G):
        G = G[np.ix_(kept, kept)]
    norms = np.sqrt(np.diagonal(G))
    cosines = G / norms / norms[:, np.newaxis]
    if len(kept) == 0:
        return kept, norms, cosines, norms
    tolerance = max(tolerance, 10 * len(kept) * float(np.finfo(np.float64).eps))
    relative = _solved(cosines, tolerance)
    if relative is None and regularise:
        cosines = cosines + max(1e-6, tolerance) * np.eye(len(kept))
        relative = _solved(cosines, 0.0)
    return kept, norms, cosines, np.zeros(len(kept)) if relative is None else relative


def _solved(C: Array, tolerance: float) -> Array | None:
    """Solution of ``C b = 1 / b``, or None where there is none."""
    if len(C) == 1:
        return np.full(1, 1 / np.sqrt(C[0, 0]))
    if len(C) == 2:
        nearness = (C[0, 0] + C[0, 1]) / 2  # squared length of the shortest vector in the hull
        return None if nearness <= tolerance else np.full(2, 1 / np.sqrt(2 * nearness))
    start = C.sum()
    relative, found = _newton(C, np.sqrt(len(C) / start) if start > 1e-10 * len(C) else 1.0, tolerance)
    return relative if found else None


@compiled
def _newton(C: Array, start: float, tolerance: float) -> tuple[Array, bool]:
    n = C.shape[0]
    b = np.full(n, start)
    identity = np.eye(n)
    absolute = np.abs(C)
    for _ in range(200):
        image = b * (C @ b)
        right = 1.0 - image
        residual = np.abs(right).max()
        total = b.sum()
        if image.sum() <= tolerance * total * total:  # a point of the hull this short: there is no solution
            return b, False
        if residual <= _ROUNDING * (1.0 + (b * (absolute @ b)).max()):
            return b, True
        step = np.linalg.solve(b * C * b.reshape(n, 1) + identity, right)
        if np.abs(step).max() <= _SMALL_STEP:
            return b * (1.0 + step), True
        decrement = np.sqrt(max(float(step @ right), 0.0))
        b = b * (1.0 + (step if decrement <= 0.25 else step / (1.0 + decrement)))
    return b, False
