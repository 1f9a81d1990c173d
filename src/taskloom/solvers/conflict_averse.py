"""The dual problem of conflict-averse descent: how far a step may leave the mean gradient, and in which direction.

    minimise  F(w) = w^T G b + sqrt(phi) sqrt(w^T G w)  over the simplex,    b = 1/K,   phi = c^2 b^T G b

F is the smallest value over s > 0 of ``w^T G b + w^T G w / (2 s) + phi s / 2``, which is jointly convex. For given s
the minimiser w(s) is the shortest vector in the hull of the shifted vectors ``g_i + s g_0``, and the best s is the root
of the decreasing function ``rho(s) = ||J^T w(s)|| - s sqrt(phi)``. While the support of w(s) stays the same, w(s) is
affine in s and the root that of a quadratic: two to four shortest vectors find it, bisection is the safeguard.

Source:
    Liu, Liu, Jin, Stone, Liu, "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, arXiv
    2110.14048 (the problem; solved there by a general optimiser).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled
from taskloom.solvers.minimum_norm import minimum_norm

__all__ = ["conflict_averse", "conflict_averse_weights"]

Array = NDArray[np.float64]


def conflict_averse(G: Array, c: float) -> Array:
    """Point of the simplex that minimises F.

    Args:
        G: inner products of the vectors, shape (K, K).
        c: radius of the ball around the mean, as a multiple of its length; >= 0.

    Returns:
        w, shape (K,).

    Example:
        >>> conflict_averse(np.array([[1.0, -1.0], [-1.0, 4.0]]), 0.4)
        array([1., 0.])
    """
    n = len(G)
    if n == 1:
        return np.ones(1)
    inner = G.mean(1)  # G b
    square = float(inner.mean())  # ||g_0||^2
    if c <= 0 or square <= 0:
        return _even(inner <= inner.min())
    root = c * math.sqrt(square)
    if n == 2:
        return _of_two(G, inner, root)
    norms = np.sqrt(np.diagonal(G))
    low, high = 0.0, float(norms.max()) / root
    s = min(1 / c, high)
    w = np.full(n, 1 / n)
    for round_ in range(60):
        w = minimum_norm(G + s * (inner[:, np.newaxis] + inner) + s * s * square)
        image = G @ w
        length = math.sqrt(max(float(w @ image), 0.0))
        rho = length - s * root
        if abs(rho) <= 1e-13 * s * root or length <= max(_ZERO * float(w @ norms), _NOTHING * root):
            break
        if round_ >= _PATIENCE:  # rounding keeps rho from zero: norms of very different size
            gradient = inner + (root / length) * image
            if w @ gradient - gradient.min() <= 1e-14 * square:
                break
        low, high = (s, high) if rho > 0 else (low, s)
        if high - low <= 1e-15 * high:
            break
        s = _next(G, inner, norms, w > 0, s, root, low, high, length / root)
    return w


def conflict_averse_weights(G: Array, c: float, *, rounding: float = 2.3e-16) -> Array:
    """Weights of the best direction in the ball around the mean: ``b + sqrt(phi) w / ||J^T w||``.

    Where ``J^T w`` is zero up to rounding it has no direction, and the weights are b.

    Args:
        G: inner products of the vectors, shape (K, K).
        c: as in :func:`conflict_averse`.
        rounding: relative rounding error of the vectors.

    Returns:
        shape (K,).

    Example:
        >>> conflict_averse_weights(np.array([[1.0, -1.0], [-1.0, 4.0]]), 0.5).round(3)
        array([0.933, 0.5  ])
    """
    n = len(G)
    w, even = conflict_averse(G, c), np.full(n, 1 / n)
    radius = c * math.sqrt(max(float(G.mean()), 0.0))
    square = float(w @ G @ w)
    # rounding in the vectors, in their inner products, and in the objective
    reach = float(w @ np.sqrt(np.maximum(np.diagonal(G), 0.0)))
    products = 10 * n * float(np.finfo(np.float64).eps)
    if square <= max(max(products, (10 * rounding) ** 2) * reach * reach, (_NOTHING * radius) ** 2):
        return even
    return even + (radius / math.sqrt(square)) * w


_ZERO = 3e-8  # length of a sum of vectors, relative to their lengths, that inner products cannot tell from zero
_NOTHING = 1e-15  # the same, relative to the radius of the ball: what no value of F can tell from zero
_PATIENCE = 8


@compiled
def _next(
    G: Array,
    inner: Array,
    norms: Array,
    support: NDArray[np.bool_],
    s: float,
    root: float,
    low: float,
    high: float,
    fixed_point: float,
) -> float:
    """Root of rho inside (low, high) if the support of w does not change; else between the two."""
    indices = np.flatnonzero(support)
    size = indices.size
    # w = p + s q minimises w^T G w / 2 + s w^T G b over sum(w) = 1 on the support: one bordered system for p and q,
    # in the unknowns w_i n_i / min n
    lengths = np.where(norms[indices] > 0, norms[indices], norms.max())
    shortest = lengths.min()
    inverse = shortest / lengths
    block = np.zeros((size + 1, size + 1))
    right = np.zeros((size + 1, 2))
    for row in range(size):
        block[row, :size] = G[indices[row]][indices] / (lengths[row] * lengths)
    block[size, :size] = inverse
    block[:size, size] = inverse
    right[size, 0] = 1.0
    right[:size, 1] = -inner[indices] / (lengths * shortest)
    solved = np.linalg.lstsq(block, right, 1e-13)[0]
    fixed = np.zeros(support.size)
    slope = np.zeros(support.size)
    fixed[indices] = solved[:size, 0] * inverse
    slope[indices] = solved[:size, 1] * inverse
    image = G @ slope
    # ||J^T p||^2 + 2 s p.G q + s^2 ||J^T q||^2 = phi s^2
    constant = fixed @ (G @ fixed)
    linear = 2 * (fixed @ image)
    square = slope @ image - root * root
    best = np.sqrt(low * high) if low > 0 else min(fixed_point, 0.01 * high)
    distance = high
    discriminant = linear * linear - 4 * constant * square
    if discriminant >= 0:
        half = -0.5 * (linear + np.copysign(np.sqrt(discriminant), linear))
        for numerator, denominator in ((half, square), (constant, half)):
            if denominator != 0:
                value = float(numerator / denominator)
                if low < value < high and abs(value - s) < distance:
                    distance = abs(value - s)
                    best = value
    return best


def _even(chosen: NDArray[np.bool_]) -> Array:
    return np.where(chosen, 1 / np.count_nonzero(chosen), 0.0)


def _of_two(G: Array, inner: Array, root: float) -> Array:
    square = G[0, 0] + G[1, 1] - 2 * G[0, 1]  # ||g_1 - g_2||^2
    if square <= 16 * np.finfo(np.float64).eps * (G[0, 0] + G[1, 1]):
        return np.full(2, 0.5)
    along = G[0, 1] - G[1, 1]  # (g_1 - g_2) . g_2
    across = max(G[1, 1] - along * along / square, 0.0)
    tilt = -(inner[0] - inner[1]) / (root * math.sqrt(square))
    if abs(tilt) >= 1:
        first = 1.0 if tilt > 0 else 0.0
    else:
        place = tilt * math.sqrt(across) / math.sqrt(1 - tilt * tilt)
        first = min(max((math.sqrt(square) * place - along) / square, 0.0), 1.0)
    return np.array([first, 1 - first])
