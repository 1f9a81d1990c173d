"""Non-negative quadratic programs, the kernel that the other solvers are built on.

    minimise  z^T H z / 2 + c^T z  over z >= 0,    optimal when  y = H z + c >= 0,  z >= 0,  z_i y_i = 0

H is a Gramian: symmetric, positive semi-definite, often singular, with rows whose norms may differ by 1e6. Its diagonal
is scaled to one first, which takes the norms out of the problem.

The active-set scheme of Lawson and Hanson decides which z_i are positive (the passive set), one index at a time. It is
run on a tableau that is pivoted in place, so that one change costs K^2 operations, and the pivot itself says how
far a row is from the span of the passive ones: that is what makes it exact where H is singular. The result is refined
and checked; should the check fail, the scheme runs once more with a fresh rank-revealing solution at every change.

Without numba the tableau would be slow. There the same scheme runs in SciPy (``scipy.optimize.nnls``) on a factor,
``H = A^T A``, as the least-squares problem ``min ||A z - b||`` with ``A^T b = -c``; what does not pass the check goes
to the tableau.

Source:
    Lawson, Hanson, "Solving Least Squares Problems", 1974, chapter 23.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import IS_COMPILED, compiled

__all__ = ["nonnegative"]

Array = NDArray[np.float64]

# Relative to the largest |c| of the scaled problem: below it a gradient y counts as zero.
_STOP = 1e-11
_ACCEPTED = 1e-10  # the same, of a solution: what is beyond is solved again with more care
# Squared distance from the span of the passive rows, of rows of norm 1, below which a row counts as dependent.
_DEPENDENT = 1e-13


def nonnegative(H: Array, c: Array) -> Array:
    """Minimiser of ``z^T H z / 2 + c^T z`` over ``z >= 0``.

    Args:
        H: symmetric positive semi-definite, shape (K, K).
        c: shape (R, K), one problem per row; each must be bounded below.

    Returns:
        z, shape (R, K). Where several z are optimal, one of them.

    Example:
        >>> H = np.array([[1.0, -0.5], [-0.5, 1.0]])
        >>> nonnegative(H, np.array([[-1.0, 2.0], [-1.0, -1.0]]))
        array([[1., 0.],
               [2., 2.]])
    """
    if IS_COMPILED:
        found, worst = _pivoted_unscaled(H, c)
        if worst <= 1.0:
            return found
    elif not (c < 0).any():
        return np.zeros_like(c)
    unit, scaled, inverse = _scaled(H, c)
    return (_by_pivots(unit, scaled) if IS_COMPILED else _by_factor(unit, scaled)) * inverse


@compiled
def _scaled(H: Array, c: Array) -> tuple[Array, Array, Array]:
    """The problem with unit rows, and one over the norms."""
    squares = np.diag(H)
    inverse = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))
    return H * inverse * inverse.reshape(-1, 1), c * inverse, inverse


def _violation(H: Array, c: Array, z: Array) -> Array:
    """How far rows of z >= 0 are from optimal, (R,)."""
    gradient = z @ H + c
    worst: Array = np.where(z > 0, np.abs(gradient), -gradient).max(1)
    return worst


def _by_factor(H: Array, c: Array) -> Array:
    """On a factor; by the tableau where that was not exact."""
    lapack, nnls = _scipy()
    found, hard = np.zeros_like(c), np.flatnonzero(c.min(1) < 0)
    if np.count_nonzero(c < 0) <= 3 * len(hard):
        found, hard = _of_one_index(H, c)
        if not len(hard):
            return found
    # H = A^T A by a Cholesky factorisation that takes the rows farthest from the span of the others first
    lower, order, rank, _ = lapack.dpstrf(H, lower=1, tol=_DEPENDENT)
    order = order - 1
    factor = (lower * _lower_triangle(len(H)))[:, :rank].T
    rights = np.linalg.solve(factor[:, :rank].T, -c[hard][:, order[:rank]].T)  # (rank, R), A^T b = -c
    for number, row in enumerate(hard):
        try:
            found[row, order] = nnls(factor, rights[:, number])[0]
        except RuntimeError:  # too many changes of the passive set; what there is does not pass the check
            continue
    doubtful = ~(_violation(H, c, found) <= _ACCEPTED * np.abs(c).max(1))
    if doubtful.any():
        found[doubtful] = _by_pivots(H, c[doubtful])
    return found


def _of_one_index(H: Array, c: Array) -> tuple[Array, NDArray[np.intp]]:
    """Solutions with at most one positive entry, (R, K), and the rows that have none."""
    entering, rows = c.argmin(1), np.arange(len(c))
    least = c[rows, entering]
    found = np.zeros_like(c)
    found[rows, entering] = np.maximum(-least, 0.0)
    gradient = c - np.minimum(least, 0.0)[:, np.newaxis] * H[entering]
    return found, np.flatnonzero(gradient.min(1) < _STOP * least)


@functools.cache
def _scipy() -> tuple[Any, Any]:
    """What is needed of SciPy: LAPACK and NNLS. Importing them takes long, and only this needs them."""
    from scipy.linalg import lapack
    from scipy.optimize import nnls

    return lapack, nnls


@functools.lru_cache(maxsize=64)
def _lower_triangle(n: int) -> Array:
    return np.tri(n)


def _by_pivots(H: Array, c: Array) -> Array:
    """By the tableau, with more care where that was not exact."""
    found, worst = _by_tableau(H, c)
    if worst <= 1.0:
        return found
    violation, limit = _violation(H, c, found), _ACCEPTED * np.abs(c).max(1)
    for row in np.flatnonzero(~(violation <= limit)):  # also where it is NaN
        again = _by_least_squares(H, c[row])
        if not _violation(H, c[row : row + 1], again[np.newaxis])[0] > violation[row]:
            found[row] = again
    return found


@compiled
def _pivoted_unscaled(H: Array, c: Array) -> tuple[Array, float]:
    unit, scaled, inverse = _scaled(H, c)
    found, worst = _by_tableau(unit, scaled)
    return found * inverse, worst


@compiled
def _by_tableau(H: Array, c: Array) -> tuple[Array, float]:
    """Solutions, and their largest violation of the optimality conditions in multiples of what is accepted."""
    found = np.zeros_like(c)
    worst = 0.0
    for row in range(c.shape[0]):
        right = c[row]
        size = np.abs(right).max()
        if right.min() < -_STOP * size:
            z = _pivoted(H, right, _STOP * size)
            gradient = H @ z + right
            violation = np.where(z > 0, np.abs(gradient), -gradient).max() / (_ACCEPTED * size)
            worst = max(worst, violation) if violation == violation else np.inf
            found[row] = z
    return found, worst


@compiled
def _pivot(tableau: Array, index: int) -> None:
    """Exchange z and y of one index: (s_P, y_N) = M (y_P, z_N) + q with the index on the other side."""
    rows, columns = tableau.shape
    pivot = tableau[index, index]
    for column in range(columns):
        tableau[index, column] /= pivot
    for row in range(rows):
        factor = tableau[row, index]
        if row != index:
            if factor != 0.0:
                for column in range(columns):
                    tableau[row, column] -= factor * tableau[index, column]
            tableau[row, index] = factor / pivot
    for column in range(columns):
        tableau[index, column] = -tableau[index, column]
    tableau[index, index] = 1.0 / pivot


@compiled
def _pivoted(H: Array, c: Array, stop: float) -> Array:
    """One problem. Loops, because it is meant for numba; plain Python comes here for what nothing else has solved."""
    n = c.size
    tableau = np.empty((n, n + 1))  # [M | q]; q holds s on the passive set and the gradient elsewhere
    tableau[:, :n] = H
    tableau[:, n] = c
    passive = np.zeros(n, np.bool_)
    blocked = np.zeros(n, np.bool_)
    z = np.zeros(n)
    for _ in range(10 * n):
        entering, least = -1, -stop
        for index in range(n):
            if not passive[index] and not blocked[index] and tableau[index, n] < least:
                entering, least = index, tableau[index, n]
        if entering < 0:
            break
        if tableau[entering, entering] <= _DEPENDENT:
            blocked[entering] = True
            continue
        _pivot(tableau, entering)
        passive[entering] = True
        blocked[:] = False
        for _ in range(n):
            if not _step(tableau, passive, z):
                break
        for index in range(n):
            z[index] = tableau[index, n] if passive[index] else 0.0
    return _refined(H, c, tableau, passive, z)


@compiled
def _step(tableau: Array, passive: NDArray[np.bool_], z: Array) -> bool:
    """Go from z towards the solution on the passive set, as far as it stays >= 0; what gets there leaves the set.

    Returns:
        False where the whole way is free.
    """
    n = z.size
    length = np.inf
    for index in range(n):
        if passive[index] and tableau[index, n] <= 0:
            length = min(length, _ratio(z[index], tableau[index, n]))
    if length == np.inf:
        return False
    leaves = np.zeros(n, np.bool_)
    for index in range(n):
        if passive[index]:
            solution = tableau[index, n]
            leaves[index] = solution <= 0 and _ratio(z[index], solution) <= length
            z[index] = 0.0 if leaves[index] else z[index] + length * (solution - z[index])
    for index in range(n):
        if leaves[index]:
            _pivot(tableau, index)
            passive[index] = False
    return True


@compiled
def _ratio(start: float, end: float) -> float:
    """Where the way from a number >= 0 to one <= 0 meets 0, as a share of it."""
    return start / (start - end) if start > end else start


@compiled
def _refined(H: Array, c: Array, tableau: Array, passive: NDArray[np.bool_], z: Array) -> Array:
    """Iterative refinement: pivots lose digits where H is nearly singular."""
    n = z.size
    for _ in range(2):
        residual = np.zeros(n)
        for row in range(n):
            if passive[row]:
                residual[row] = c[row]
                for column in range(n):
                    residual[row] += H[row, column] * z[column]
        for row in range(n):
            if passive[row]:
                for column in range(n):
                    z[row] -= tableau[row, column] * residual[column]
    return np.maximum(z, 0.0)


def _by_least_squares(H: Array, c: Array) -> Array:
    """The scheme as written down by Lawson and Hanson: slower, and it trusts no earlier result."""
    stop = _STOP * np.abs(c).max()
    n = c.size
    passive = np.zeros(n, np.bool_)
    blocked = np.zeros(n, np.bool_)
    z = np.zeros(n)
    for _ in range(10 * n):
        gradient = np.where(passive | blocked, 0.0, H @ z + c)
        entering = np.argmin(gradient)
        if gradient[entering] >= -stop:
            break
        passive[entering] = True
        solution = _on_passive(H, c, passive)
        if solution[entering] <= 0:
            passive[entering] = False
            blocked[entering] = True
            continue
        blocked[:] = False
        for _ in range(n):
            negative = passive & (solution <= 0)
            if not negative.any():
                break
            length = np.where(negative & (z > solution), z - solution, 1.0)
            ratio = np.where(negative, z / length, np.inf)
            step = ratio.min()
            leaving = ratio <= step
            passive = passive & ~leaving
            z = np.where(passive, z + step * (solution - z), 0.0)
            solution = _on_passive(H, c, passive)
        z = solution
    return np.maximum(z, 0.0)


def _on_passive(H: Array, c: Array, passive: NDArray[np.bool_]) -> Array:
    solution = np.zeros(c.size)
    indices = np.flatnonzero(passive)
    if indices.size > 0:
        block = H[np.ix_(indices, indices)]
        solution[indices] = np.linalg.lstsq(block, -c[indices], rcond=1e-13)[0]
    return solution
