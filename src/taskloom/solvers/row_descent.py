"""Coordinate descent over the rows of a coefficient matrix: least squares of several tasks with a penalty per row.

    minimise  sum_t scale_t ||y_t - Z_t a_t||^2 / 2 + ridge ||A||^2 / 2 + sum_j h_j(a^j)

with ``h_j(a) = strength_j ||a||_q``, or with rows in two parts, ``a = p + r`` and ``h_j = strength_j ||p||_q + entry_j
||r||_1``. Where q is 2 or infinite a row is minimised exactly: with b its gradients without it, c its curvatures and
``l = ||p||_q``, p_t has the sign of b_t and the size ``l min(|b_t| / (c_t l + strength_j), entry_j / strength_j)``, or
``min(|b_t| / c_t, l)`` where q is infinite, and r_t is ``b_t / c_t - p_t`` shrunk by ``entry_j / c_t``; l is found by
Newton's steps, as the squares of the sizes divided by l sum to 1, or what l leaves of ``|b_t|``, at most entry_j, to
strength_j. For other q it is minimised by a few proximal steps with its largest curvature over the tasks, and its
parts move in turn. Then what it changed goes to the state: the residuals, O(sum_t n_t), or the gradients, O(m T) with
the Gram matrices of the m rows; with one design for all tasks eight rows go together. Every fifth pass the iterates
are extrapolated, and the extrapolation is kept where it lowers the objective. The duality gap of the problem ends the
descent.

Source:
    Qin, Scheinberg, Goldfarb, "Efficient block-coordinate descent algorithms for the group lasso", Math. Prog. Comp.
    2013; extrapolation: Bertrand, Massias, "Anderson acceleration of coordinate descent", AISTATS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import IS_COMPILED
from taskloom.solvers._row_kernel import BLOCK, descend

__all__ = ["IS_COMPILED", "RowTerms", "descend_gradients", "descend_residuals"]

Array = NDArray[np.float64]
Places = NDArray[np.int64]

_NO_MATRICES, _NO_ROWS = np.zeros((0, 0, 0)), np.zeros((0, 0))
_NO_PLACES = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class RowTerms:
    """The penalties of m rows.

    Args:
        strengths: of the norm, not negative, shape (m,).
        powers: q of the norm, shape (m,).
        entries: strengths of the l1 norm of the second part, positive, shape (m,); None for one part.

    Example:
        >>> RowTerms(np.ones(3), np.full(3, 2.0)).rows(np.array([0, 2])).strengths
        array([1., 1.])
    """

    strengths: Array
    powers: Array
    entries: Array | None = None

    def rows(self, chosen: NDArray[np.intp]) -> RowTerms:
        """The penalties of some of the rows."""
        entries = None if self.entries is None else self.entries[chosen]
        return RowTerms(self.strengths[chosen], self.powers[chosen], entries)


def descend_gradients(
    parts: Array,
    gradients: Array,
    *,
    grams: Array,
    r: Array,
    square: float,
    ridge: float,
    terms: RowTerms,
    passes: int,
    target: float,
) -> tuple[int, float]:
    """Descend with Gram matrices; a ridge is part of their diagonals. The first two arguments are changed.

    Args:
        parts: coefficients, shape (1 or 2, m, T).
        gradients: ``r - H a`` of every task, shape (T, m).
        grams: ``H = scale_t Z_t'Z_t + ridge I``, shape (T, m, m), or (1, m, m) for all tasks.
        r: ``scale_t Z_t'y_t``, shape (T, m).
        square: ``sum_t scale_t ||y_t||^2``.
        ridge: strength of half the squared coefficients; 0 with two parts.
        terms: penalties of the rows.
        passes: most passes over the rows.
        target: duality gap to stop at.

    Returns:
        passes made and the last gap.

    Example:
        >>> parts, gradients = np.zeros((1, 1, 1)), np.array([[2.0]])
        >>> descend_gradients(parts, gradients, grams=np.ones((1, 1, 1)), r=np.array([[2.0]]), square=4.0,
        ...                   ridge=0.0, terms=RowTerms(np.ones(1), np.full(1, 2.0)), passes=9, target=1e-12)
        (5, 0.0)
        >>> parts.ravel()
        array([1.])
    """
    curvatures = _by_row(np.diagonal(grams, axis1=1, axis2=2), parts)
    made, gap = descend(
        parts, gradients.reshape(-1), grams, _NO_ROWS, _NO_PLACES, r, square, ridge, *curvatures, terms.strengths,
        terms.powers, _entries(terms), passes, target,
    )  # fmt: skip
    return made, float(gap)


def descend_residuals(
    parts: Array,
    residuals: Array,
    *,
    columns: Array,
    lengths: Places,
    scales: Array,
    ridge: float,
    terms: RowTerms,
    passes: int,
    target: float,
) -> tuple[int, float]:
    """Descend with residuals. The first argument is changed, the second used up.

    Args:
        parts: coefficients, shape (1 or 2, m, T).
        residuals: ``y_t - Z_t a_t``, one task after the other, shape (N,).
        columns: columns of the designs, shape (m, n): of all tasks one after the other, or of the one design.
        lengths: rows of each design, shape (T,).
        scales: shape (T,).
        ridge: strength of half the squared coefficients; 0 with two parts.
        terms: penalties of the rows.
        passes: most passes over the rows.
        target: duality gap to stop at.

    Returns:
        passes made and the last gap.

    Example:
        >>> parts, residuals = np.zeros((1, 1, 1)), np.array([2.0])
        >>> descend_residuals(parts, residuals, columns=np.ones((1, 1)), lengths=np.array([1]), scales=np.ones(1),
        ...                   ridge=0.0, terms=RowTerms(np.ones(1), np.full(1, 2.0)), passes=9, target=1e-12)
        (5, 0.0)
        >>> parts.ravel()
        array([1.])
    """
    scale = float(scales.max(initial=0.0)) or 1.0  # the loops know no scales: everything is divided by one of them
    if scales.min(initial=scale) < scale:
        roots = np.repeat(np.sqrt(scales / scale), lengths)
        columns, residuals = columns * roots, residuals * roots
    ends = np.concatenate([[0], np.cumsum(lengths)])
    if len(residuals) == len(lengths) * columns.shape[1]:  # one design serves all tasks
        grams = _block_grams(columns)
        squares = grams[:, np.arange(len(columns)), np.arange(len(columns)) % BLOCK]
    else:
        grams = _NO_MATRICES
        pieces = [columns[:, start:end] for start, end in pairwise(ends)]
        squares = np.stack([np.einsum("mn,mn->m", piece, piece) for piece in pieces])  # (T, m)
    made, gap = descend(
        parts, residuals, grams, columns, ends, _NO_ROWS, 0.0, ridge / scale, *_by_row(squares + ridge / scale, parts),
        terms.strengths / scale, terms.powers, _entries(terms) / scale, passes, target / scale,
    )  # fmt: skip
    return made, scale * float(gap)


def _by_row(curvatures: Array, parts: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """From shape (1 or T, m) to (m, T), and the largest of every row, and where it is all of them."""
    by_row = np.empty(parts.shape[1:])
    by_row[:] = curvatures.T
    if len(curvatures) == 1:
        return by_row, np.ascontiguousarray(curvatures[0]), np.ones(len(by_row), dtype=np.bool_)
    largest = curvatures.max(axis=0)
    return by_row, largest, curvatures.min(axis=0) == largest


def _block_grams(columns: Array) -> Array:
    """Products of every column with those of its block, shape (1, m, BLOCK)."""
    grams = np.zeros((1, len(columns), BLOCK))
    whole = len(columns) // BLOCK * BLOCK
    blocks = columns[:whole].reshape(whole // BLOCK, BLOCK, columns.shape[1])
    np.matmul(blocks, blocks.transpose(0, 2, 1), out=grams[0, :whole].reshape(whole // BLOCK, BLOCK, BLOCK))
    grams[0, whole:, : len(columns) - whole] = columns[whole:] @ columns[whole:].T
    return grams


def _entries(terms: RowTerms) -> Array:
    return np.zeros_like(terms.strengths) if terms.entries is None else terms.entries
