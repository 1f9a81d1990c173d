"""Non-negative quadratic programs, the kernel that the other solvers are built on.

    minimise  z^T H z / 2 + c^T z  over z >= 0,    optimal when  y = H z + c >= 0,  z >= 0,  z_i y_i = 0

H is a Gramian: symmetric, positive semi-definite, often singular, with rows whose norms may differ by 1e6. Its diagonal
is scaled to one first, which takes the norms out of the problem.

The active-set scheme of Lawson and Hanson decides which z_i are positive (the passive set), one index at a time. It is
run on a tableau that is pivoted in place, so that one change costs K^2 operations, and the pivot itself says how
far a row is from the span of the passive ones: that is what makes it exact where H is singular. The result is refined
and checked; should the check fail, the scheme runs once more with a fresh rank-revealing solution at every change.

Without compilation, several right-hand sides are first solved together by block pivoting, which exchanges all wrong
indices of all of them at once and takes a few rounds where it converges; singular H get a proximal term for it, which
does not change the result. What is left unsolved goes to the scheme above.

Source:
    Lawson, Hanson, "Solving Least Squares Problems", 1974, chapter 23; block pivoting: Portugal, Judice, Vicente, "A
    comparison of block pivoting and interior-point algorithms for linear least squares problems with nonnegative
    variables", Mathematics of Computation 1994.
"""

from __future__ import annotations

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
    if not c.min(initial=0.0) < 0:
        return np.zeros_like(c)
    inverse, unit, scaled = _scaled(H, c)
    # a single problem takes the same path with and without compilation: the same z where several are optimal
    solve = _one_by_one if IS_COMPILED or len(c) == 1 else _together
    return solve(unit, scaled) * inverse


def _scaled(H: Array, c: Array) -> tuple[Array, Array, Array]:
    """One over the norms, and the problem with unit rows."""
    squares = np.diagonal(H)
    inverse = 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))
    return inverse, H * inverse * inverse[:, np.newaxis], c * inverse


def _violation(H: Array, c: Array, z: Array) -> Array:
    """How far rows of z >= 0 are from optimal, (R,)."""
    gradient = z @ H + c
    worst: Array = np.where(z > 0, np.abs(gradient), -gradient).max(1)
    return worst


def _together(H: Array, c: Array) -> Array:
    """All right-hand sides at once, without compilation."""
    found = np.zeros_like(c)
    left = _exchange(H, c, found, np.arange(len(c)), proximal=0.0, rounds=6)
    if len(left) > _FEW:
        left = _exchange(H, c, found, left, proximal=1e-8, rounds=8)
    if len(left) > 0:
        found[left] = _one_by_one(H, c[left])
    return found


_FEW = 4  # right-hand sides that are solved one by one in the time of one more attempt at all of them


def _exchange(H: Array, c: Array, found: Array, rows: NDArray[np.int_], *, proximal: float, rounds: int) -> Any:
    """Block pivoting; writes what it solves into ``found`` and returns the rows that it does not solve."""
    identity = np.eye(len(H))
    ridged = H + proximal * identity
    right, centre = c[rows], np.zeros((len(rows), len(H)))
    stop = _STOP * np.abs(right).max(1, keepdims=True)  # (R, 1)
    passive = right < -stop
    for _ in range(rounds):
        linear = right - proximal * centre
        system = np.where(passive[:, :, np.newaxis] & passive[:, np.newaxis, :], ridged, identity)
        try:
            z = np.linalg.solve(system, np.where(passive, -linear, 0.0)[..., np.newaxis])[..., 0]
        except np.linalg.LinAlgError:
            break
        wrong = np.where(passive, z < 0, z @ ridged + linear < -stop)
        settled = ~wrong.any(1)
        if settled.any():
            solved = settled & (_violation(H, right, z) <= stop[:, 0])
            found[rows[solved]] = z[solved]
            centre[settled] = z[settled]
            if solved.any():
                if solved.all():
                    return rows[:0]
                rest = ~solved
                rows, right, centre, stop = rows[rest], right[rest], centre[rest], stop[rest]
                passive, wrong = passive[rest], wrong[rest]
        passive ^= wrong
    return rows


def _one_by_one(H: Array, c: Array) -> Array:
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
    pivot = tableau[index, index]
    row = tableau[index] / pivot
    column = tableau[:, index].copy()
    tableau -= column.reshape(-1, 1) * row
    tableau[index] = -row
    tableau[:, index] = column / pivot
    tableau[index, index] = 1 / pivot


@compiled
def _pivoted(H: Array, c: Array, stop: float) -> Array:
    n = c.size
    tableau = np.empty((n, n + 1))  # [M | q]; q holds s on the passive set and the gradient elsewhere
    tableau[:, :n] = H
    tableau[:, n] = c
    passive = np.zeros(n, np.bool_)
    blocked = np.zeros(n, np.bool_)
    z = np.zeros(n)
    for _ in range(10 * n):
        gradient = np.where(passive | blocked, 0.0, tableau[:, n])
        entering = np.argmin(gradient)
        if gradient[entering] >= -stop:
            break
        if tableau[entering, entering] <= _DEPENDENT:
            blocked[entering] = True
            continue
        _pivot(tableau, int(entering))
        passive[entering] = True
        blocked[:] = False
        for _ in range(n):
            solution = np.where(passive, tableau[:, n], 0.0)
            negative = passive & (solution <= 0)
            if not negative.any():
                break
            length = np.where(negative & (z > solution), z - solution, 1.0)
            ratio = np.where(negative, z / length, np.inf)
            step = ratio.min()
            z = np.where(passive, z + step * (solution - z), 0.0)
            for leaving in np.flatnonzero(ratio <= step):
                z[leaving] = 0.0
                _pivot(tableau, int(leaving))
                passive[leaving] = False
        z = np.where(passive, tableau[:, n], 0.0)
    inverse = np.ascontiguousarray(tableau[:, :n])
    for _ in range(2):  # iterative refinement: pivots lose digits where H is nearly singular
        residual = np.where(passive, H @ z + c, 0.0)
        z = np.where(passive, z - inverse @ residual, 0.0)
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
