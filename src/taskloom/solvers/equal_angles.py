"""The direction that makes the same angle with every vector, from inner products, with two conventions for its length.

With C the matrix of cosines, N the diagonal of norms and p the wanted ratios of the cosines (1 for equal angles):

    v = N^-1 C^+ p,   d = J^T v up to a factor

makes ``cos(g_i, d)`` proportional to ``p_i`` where C is regular. C^+ is the pseudo-inverse: eigenvalues below a share
of the largest one are taken as 0. Vectors of length zero take no part.

Source:
    Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021 (IMTL-G); Liu, Chu, Thuerey, "ConFIG", ICLR 2025,
    arXiv 2408.11104.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled

__all__ = ["conflict_free", "impartial"]

Array = NDArray[np.float64]

_ROUNDING = 1e-24  # relative to the square of the right-hand side: what is left of p in the null space of C
_NEARLY = 1 - 1e-6  # share of the square of p that an exact solution reaches
_SMALL_SUM = 1e-6  # |1^T v| below this share of sum |v_i|: no length can be read from the sum
_IMPARTIAL_CUTOFF = 1e-10
_CONFLICT_FREE_CUTOFF = 1e-12


def impartial(G: Array, *, sign_guard: bool = True) -> tuple[Array, bool]:
    """Weights ``w = v / |1^T v|``, for which d has equal components along all vectors.

    Args:
        G: inner products of the vectors, shape (K, K).
        sign_guard: False divides by ``1^T v`` as it is, which can turn d against all vectors.

    Returns:
        w, shape (K,), uniform where all vectors are zero; and whether there is such a direction. If not, w is that of
        the nearest one.

    Example:
        >>> impartial(np.diag([1.0, 9.0]))
        (array([0.75, 0.25]), True)
    """
    return _impartial(G, sign_guard)


def conflict_free(G: Array, preference: Array, *, length: float | None = None) -> tuple[Array, bool]:
    """Weights of the direction with cosines in the ratio of a preference.

    Args:
        G: inner products of the vectors, shape (K, K).
        preference: p >= 0, shape (K,).
        length: norm of d; None: the sum of the components of all vectors along d.

    Returns:
        w, shape (K,), uniform over p > 0 where all vectors are zero, and 0 where nothing has cosines of this ratio (two
        opposite vectors); and whether d has them exactly. If not, it is the nearest one.

    Example:
        >>> conflict_free(np.diag([1.0, 4.0]), np.ones(2))
        (array([1.5 , 0.75]), True)
    """
    return _conflict_free(G, preference, -1.0 if length is None else length)


@compiled
def _impartial(G: Array, sign_guard: bool) -> tuple[Array, bool]:
    n = G.shape[0]
    squares = np.diag(G)
    if not squares.any():
        return np.full(n, 1.0 / n), True
    there = np.sign(squares)
    C, norms, inverse, solution, is_exact = _solved(G, squares, there, _IMPARTIAL_CUTOFF)
    if not solution.any():  # unit vectors that sum to 0: (C + eps I)^-1 1 tends to a multiple of 1, and d to 0
        solution = there
    unscaled = inverse * solution
    total = unscaled.sum()
    if abs(total) >= _SMALL_SUM * np.abs(unscaled).sum() and total != 0:
        return unscaled / (abs(total) if sign_guard else total), is_exact
    projected = C @ solution
    square = solution @ projected  # ||d||^2 before any length is given to it
    return unscaled * ((norms @ projected) / (square if square > 0 else 1.0)), is_exact


@compiled
def _conflict_free(G: Array, preference: Array, length: float) -> tuple[Array, bool]:
    squares = np.diag(G)
    if not squares.any():
        chosen = np.where(preference > 0, 1.0, 0.0)
        return chosen / max(chosen.sum(), 1.0), True
    C, norms, inverse, solution, is_exact = _solved(G, squares, preference, _CONFLICT_FREE_CUTOFF)
    projected = C @ solution  # components of d along the unit vectors, before any length is given to it
    square = solution @ projected
    if square <= 0:
        return np.zeros(G.shape[0]), is_exact
    factor = (norms @ projected) / square if length < 0 else length / np.sqrt(square)
    return factor * inverse * solution, is_exact


@compiled
def _solved(G: Array, squares: Array, right: Array, cutoff: float) -> tuple[Array, Array, Array, Array, bool]:
    """C, norms, one over them, C^+ p (0 where p is in the null space of C), whether p is in the range of C."""
    if squares.all():
        norms = np.sqrt(squares)
        inverse = 1.0 / norms
    else:
        is_nonzero = squares > 0
        norms = np.sqrt(np.where(is_nonzero, squares, 0.0))
        inverse = np.where(is_nonzero, 1.0 / np.where(is_nonzero, norms, 1.0), 0.0)
        right = np.where(is_nonzero, right, 0.0)
    C = G * inverse * inverse.reshape(-1, 1)
    values, vectors = np.linalg.eigh(C)
    parts = right @ vectors
    wanted = right @ right
    if values[0] > cutoff * values[-1]:
        return C, norms, inverse, vectors @ (parts / values), True
    kept = values > cutoff * values[-1]
    parts = np.where(kept, parts, 0.0)
    reached = parts @ parts
    solution = np.zeros(C.shape[0])
    if reached > _ROUNDING * wanted:
        solution = vectors @ (parts / np.where(kept, values, 1.0))
    return C, norms, inverse, solution, bool(reached >= _NEARLY * wanted)
