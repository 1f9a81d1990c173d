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

__all__ = ["bargain", "nash", "nash_cosines"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

_ROUNDING = 4e-16
_SMALL_STEP = 1e-7  # relative; after a Newton step of this size the error is its square
_MOST_DOUBLINGS = 40  # of a step; a direction along which nothing ever stops it has no end
_EPS = float(np.finfo(np.float64).eps)


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
    return bargain(G, tolerance=tolerance, regularise=regularise)[0]


def bargain(G: Array, *, tolerance: float = 0.0, regularise: bool = True) -> tuple[Array, bool]:
    """The same, and whether the equation has a solution.

    Args:
        G: as in :func:`nash`.
        tolerance: as in :func:`nash`.
        regularise: as in :func:`nash`.

    Returns:
        a, shape (K,), and False where the origin is in the hull. Nothing to solve (no vector but zeros) counts as
        solved.

    Example:
        >>> bargain(np.array([[1.0, -1.0], [-1.0, 1.0]]), regularise=False)
        (array([0., 0.]), False)
    """
    kept, norms, _, relative, is_solved = nash_cosines(G, tolerance=tolerance, regularise=regularise)
    weights = np.zeros(len(G))
    weights[kept] = relative / norms
    return weights, is_solved


def nash_cosines(G: Array, *, tolerance: float, regularise: bool) -> tuple[Indices, Array, Array, Array, bool]:
    """The solution in cosines.

    Args:
        G: as in :func:`nash`.
        tolerance: as in :func:`nash`.
        regularise: as in :func:`nash`.

    Returns:
        which vectors take part (S,), their norms n, the matrix C that was solved with, b with ``C b = 1 / b``, and
        whether C is the matrix of cosines; all of b is 0 where there is no solution and none was forced.

    Example:
        >>> nash_cosines(np.diag([1.0, 0.0, 4.0]), tolerance=0.0, regularise=True)[0]
        array([0, 2])
    """
    return _in_cosines(G, tolerance, regularise)


@compiled
def _in_cosines(G: Array, tolerance: float, regularise: bool) -> tuple[Indices, Array, Array, Array, bool]:
    kept = np.flatnonzero(np.diag(G) > 0)
    n = kept.size
    part = np.ascontiguousarray(G[kept][:, kept])
    norms = np.sqrt(np.diag(part))
    cosines = part / norms / norms.reshape(-1, 1)
    if n == 0:
        return kept, norms, cosines, norms, True
    tolerance = max(tolerance, 10 * n * _EPS)
    total, ridge = cosines.sum(), max(1e-6, tolerance)
    start = np.full(n, np.sqrt(n / total) if total > 1e-10 * n else 1.0)
    relative, is_solved = _solved(cosines, start, tolerance, ridge)
    if not is_solved and regularise:
        cosines = cosines + ridge * np.eye(n)
        relative = _solved(cosines, relative, 0.0, 0.0)[0]
    elif not is_solved:
        relative = np.zeros(n)
    return kept, norms, cosines, relative, is_solved


@compiled
def _solved(C: Array, start: Array, tolerance: float, ridge: float) -> tuple[Array, bool]:
    """Solution of ``C b = 1 / b``, and whether there is one; if not, a point from where to solve ``C + ridge I``."""
    n = C.shape[0]
    if n == 1:
        return np.full(1, 1 / np.sqrt(C[0, 0])), True
    if n == 2:
        nearness = (C[0, 0] + C[0, 1]) / 2  # squared length of the shortest vector in the hull
        if nearness <= tolerance:
            return np.ones(2), False
        return np.full(2, 1 / np.sqrt(2 * nearness)), True
    return _newton(C, start, tolerance, ridge)


@compiled
def _newton(C: Array, b: Array, tolerance: float, ridge: float) -> tuple[Array, bool]:
    near = b
    n = C.shape[0]
    identity = np.eye(n)
    for _ in range(200):
        image = b * (C @ b)
        square, total = image.sum(), b.sum()
        if square <= tolerance * total * total:  # a point of the hull this short: there is no solution
            return near, False
        if square > ridge * (b @ b):  # it is still C that decides, not the ridge
            near = b
        factor = np.sqrt(n / square)  # to the best length along b
        b, right = b * factor, 1.0 - image * (factor * factor)
        residual = np.abs(right).max()
        may_be_rounding = residual <= _ROUNDING * (1.0 + 2.0 * b.max() * factor * total)  # a cheap bound
        if may_be_rounding and residual <= _ROUNDING * (1.0 + (b * (np.abs(C) @ b)).max()):
            return b, True
        step = np.linalg.solve(b * C * b.reshape(n, 1) + identity, right)
        if np.abs(step).max() <= _SMALL_STEP:
            return b * (1.0 + step), True
        decrement = np.sqrt(max(float(step @ right), 0.0))
        length = 1.0 if decrement <= 0.25 else _length(C, b * step, step, 1.0 - right, 1.0 / (1.0 + decrement))
        b = b * (1.0 + length * step)
    return near, False


@compiled
def _length(C: Array, change: Array, step: Array, image: Array, length: float) -> float:
    """At least ``length``, which is safe, and doubled while that lowers the objective at the best length along b.

    Where there is no solution, or one far away, b changes by many orders, and safe steps only double it.
    """
    n = C.shape[0]
    slope, curvature = 2.0 * (step @ image), change @ (C @ change)
    most = -0.999 / step.min() if step.min() < 0 else np.inf
    value = np.inf
    for _ in range(_MOST_DOUBLINGS):
        square = n + length * (slope + length * curvature)
        if square <= 0:  # rounding
            return length
        new = 0.5 * n * np.log(square) - np.log(1.0 + length * step).sum()
        if new >= value:
            return 0.5 * length
        value = new
        if 2.0 * length > most:
            return length
        length *= 2.0
    return length
