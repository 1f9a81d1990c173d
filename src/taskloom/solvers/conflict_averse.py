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
from taskloom.solvers.minimum_norm import share_alike, shortest

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
    inner, square, norms = _of_the_mean(G)
    if c <= 0 or square <= 0:
        return _even(inner <= inner.min())
    root = c * math.sqrt(square)
    if n == 2:
        return _of_two(G, inner, root)
    low, high = 0.0, float(norms.max()) / root
    s = min(1 / c, high)
    w = np.full(n, 1 / n)
    for round_ in range(60):
        w = shortest(_shifted(G, inner, s, square))
        is_root, s, low, high = _judged(G, inner, norms, w, s, root, square, low, high, round_ >= _PATIENCE)
        if is_root:
            break
    return share_alike(G, w)


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
    return _lengthened(G, conflict_averse(G, c), c, rounding)


_EPS = float(np.finfo(np.float64).eps)
_ZERO = 3e-8  # length of a sum of vectors, relative to their lengths, that inner products cannot tell from zero
_NOTHING = 1e-15  # the same, relative to the radius of the ball: what no value of F can tell from zero
_PATIENCE = 8


@compiled
def _of_the_mean(G: Array) -> tuple[Array, float, Array]:
    """Inner products with g_0, its squared length, and the lengths of all vectors."""
    n = G.shape[0]
    inner = G.sum(1) / n
    return inner, inner.sum() / n, np.sqrt(np.maximum(np.diag(G), 0.0))


@compiled
def _lengthened(G: Array, w: Array, c: float, rounding: float) -> Array:
    n = w.size
    even = np.full(n, 1.0 / n)
    _, mean, norms = _of_the_mean(G)
    radius = c * np.sqrt(max(mean, 0.0))
    square = float(w @ (G @ w))
    # rounding in the vectors, in their inner products, and in the objective
    reach = w @ norms
    products = max(10 * n * _EPS, (10 * rounding) ** 2)
    if square <= max(products * reach * reach, (_NOTHING * radius) ** 2):
        return even
    weights: Array = even + (radius / np.sqrt(square)) * w
    return weights


@compiled
def _shifted(G: Array, inner: Array, s: float, square: float) -> Array:
    """Inner products of the vectors ``g_i + s g_0``."""
    return G + s * (inner.reshape(-1, 1) + inner) + s * s * square


@compiled
def _judged(
    G: Array,
    inner: Array,
    norms: Array,
    w: Array,
    s: float,
    root: float,
    square: float,
    low: float,
    high: float,
    is_late: bool,
) -> tuple[bool, float, float, float]:
    """Whether s is the root of rho; if not, the next s, and the interval that it is in."""
    image = G @ w
    length = np.sqrt(max(float(w @ image), 0.0))
    rho = length - s * root
    if abs(rho) <= 1e-13 * s * root or length <= max(_ZERO * (w @ norms), _NOTHING * root):
        return True, s, low, high
    if is_late:  # rounding keeps rho from zero: norms of very different size
        gradient = inner + (root / length) * image
        if w @ gradient - gradient.min() <= 1e-14 * square:
            return True, s, low, high
    if rho > 0:
        low = s
    else:
        high = s
    if high - low <= 1e-15 * high:
        return True, s, low, high
    return False, _next(G, inner, norms, w > 0, s, root, low, high, length / root), low, high


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
    least = lengths.min()
    inverse = least / lengths
    block = np.zeros((size + 1, size + 1))
    right = np.zeros((size + 1, 2))
    for row in range(size):
        block[row, :size] = G[indices[row]][indices] / (lengths[row] * lengths)
    block[size, :size] = inverse
    block[:size, size] = inverse
    right[size, 0] = 1.0
    right[:size, 1] = -inner[indices] / (lengths * least)
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
