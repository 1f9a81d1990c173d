"""Shortest vector in the convex hull of K vectors, from their inner products.

    minimise  w^T G w  over the simplex {w >= 0, 1^T w = 1}

With ``delta = min_i G_ii`` the program ``z = argmin z^T (G + delta 1 1^T) z / 2 - 1^T z`` over ``z >= 0`` has the same
optimality conditions up to the factor ``sum(z)``: ``w = z / sum(z)``. ``delta`` keeps it bounded where the hull
contains the origin; taken at the smallest diagonal entry it costs no digit of short vectors.

Source:
    Désidéri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R. Math. 2012; closed
    form of two vectors: Sener, Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled
from taskloom.solvers.quadratic import nonnegative

__all__ = ["minimum_norm", "share_alike", "shortest"]

Array = NDArray[np.float64]

_ALIKE = 16 * float(np.finfo(np.float64).eps)


def minimum_norm(G: Array) -> Array:
    """Weights of the shortest vector in the convex hull.

    Vectors of length zero are the shortest: they share the weight. Equal vectors get equal weights.

    Args:
        G: inner products of the vectors, shape (K, K).

    Returns:
        w, shape (K,), not negative, summing to 1. Where several w are optimal, one of them: ``J^T w`` is unique.

    Example:
        >>> minimum_norm(np.array([[1.0, 0.0], [0.0, 3.0]]))
        array([0.75, 0.25])
    """
    return share_alike(G, shortest(G)) if len(G) > 2 else shortest(G)


def shortest(G: Array) -> Array:
    """The same where nobody looks at the weights themselves: equal vectors may get different ones.

    Args:
        G: as in :func:`minimum_norm`.

    Returns:
        w, shape (K,).

    Example:
        >>> shortest(np.array([[1.0, 2.0], [2.0, 9.0]]))
        array([1., 0.])
    """
    if len(G) == 1:
        return np.ones(1)
    squares = np.diagonal(G)
    smallest = squares.min()
    if smallest <= 0:
        short = squares <= 0
        return np.where(short, 1 / np.count_nonzero(short), 0.0)
    if len(G) == 2:
        return _of_two(G[0, 0], G[0, 1], G[1, 1])
    z: Array = nonnegative(G + smallest, np.full((1, len(G)), -1.0))[0]
    w: Array = z / z.sum()
    return w


def _of_two(first: float, inner: float, second: float) -> Array:
    if first + second - 2 * inner <= _ALIKE * (first + second):
        share = 0.5
    elif inner >= first:
        share = 1.0
    elif inner >= second:
        share = 0.0
    else:
        share = (second - inner) / (first + second - 2 * inner)
    return np.array([share, 1 - share])


def share_alike(G: Array, w: Array) -> Array:
    """Weights that give the same sum of vectors, with equal weights for equal vectors.

    Args:
        G: inner products of the vectors, shape (K, K).
        w: weights, shape (K,).

    Returns:
        shape (K,).

    Example:
        >>> share_alike(np.ones((2, 2)), np.array([1.0, 0.0]))
        array([0.5, 0.5])
    """
    alike = _alike(G)
    if np.count_nonzero(alike) <= len(G):
        return w
    shares = alike @ (w / alike.sum(1))
    total = shares.sum()
    return shares * (w.sum() / total) if total > 0 else w


@compiled
def _alike(G: Array) -> NDArray[np.bool_]:
    squares = np.diag(G)
    sums = squares.reshape(-1, 1) + squares
    return sums - 2 * G <= _ALIKE * sums
