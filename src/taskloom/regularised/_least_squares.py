"""Weighted least squares of several tasks without intercepts, by its data or by its Gram matrices alone.

    loss(A) = sum_t scale_t ||y_t - Z_t a_t||^2 / 2 = (square - 2 <r, A> + sum_t a_t' H_t a_t) / 2
    r_t = scale_t Z_t' y_t,    H_t = scale_t Z_t' Z_t,    gradients G_t = scale_t Z_t' (y_t - Z_t a_t) = r_t - H_t a_t

Tasks that share one design share one Gram matrix: arrays of Gram matrices have the shape (1, d, d) then and (T, d, d)
otherwise. The block-diagonal matrix of all designs is never built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised._designs import DenseDesign, Whitened
from taskloom.regularised.certificate import RiskPoint, SquaredDual
from taskloom.regularised.data import Array

__all__ = ["GramLeastSquares", "GramRows", "LeastSquares", "LeastSquaresOfData"]

Rows = NDArray[np.intp]


class LeastSquares(Protocol):
    """What solvers for the squared loss work on."""

    n_features: int
    n_tasks: int
    n_grams: int  # 1 where one design serves all tasks, T otherwise

    @property
    def squares(self) -> Array:
        """``scale_t ||y_t||^2``, shape (T,)."""
        ...

    @property
    def square(self) -> float:
        """Their sum."""
        ...

    @property
    def r(self) -> Array:
        """Shape (d, T)."""
        ...

    def at(self, A: Array) -> RiskPoint:
        """Loss and dual point at A, shape (d, T)."""
        ...

    def grams(self, rows: Rows) -> Array:
        """``H_t[rows][:, rows]``, shape (1 or T, m, m); not to be changed."""
        ...

    @property
    def curvatures(self) -> Array:
        """Diagonals of the Gram matrices, shape (1 or T, d)."""
        ...

    def task(self, t: int) -> LeastSquares:
        """The problem of one task."""
        ...


def _point(rests: Array, G: Array, A: Array) -> RiskPoint:
    """The point of a squared loss; ``<y, u> = <residuals + Z A, u>``."""
    return RiskPoint(float(rests.sum()) / 2, SquaredDual(G, rests + np.vecdot(G.T, A.T), rests))


class GramLeastSquares:
    """Least squares that is known by its Gram matrices."""

    def __init__(self, H: Array, r: Array, *, squares: Array) -> None:
        """Shapes (1 or T, d, d), (d, T), and (T,) for the weighted squares of the targets."""
        self.H, self.r, self.squares = H, r, squares
        self.n_grams, self.n_features = H.shape[:2]
        self.n_tasks = r.shape[1]
        self.square = float(squares.sum())

    def at(self, A: Array) -> RiskPoint:
        G = self.r - self.products(A)
        rests = self.squares - np.einsum("dt,dt->t", A, self.r + G)
        return _point(np.maximum(rests, 0.0), G, A)

    def products(self, A: Array) -> Array:
        """``H_t a_t``, shape (d, T)."""
        support = np.flatnonzero(A.any(axis=1))
        few = 2 * len(support) <= len(A)
        taken, H = (A[support].T, self.H[:, support]) if few else (A.T, self.H)  # (T, m), (1 or T, m, d)
        if self.n_grams == 1:
            product: Array = (taken @ H[0]).T
            return product
        each: Array = np.matmul(taken[:, None, :], H)[:, 0, :].T
        return each

    def grams(self, rows: Rows) -> Array:
        if len(rows) == self.n_features and np.array_equal(rows, np.arange(self.n_features)):
            return self.H
        return self.H.take(rows, axis=1).take(rows, axis=2)

    @cached_property
    def curvatures(self) -> Array:
        return np.diagonal(self.H, axis1=1, axis2=2).copy()

    def task(self, t: int) -> GramLeastSquares:
        return self.some_tasks(np.array([t]))

    def some_tasks(self, chosen: Rows) -> GramLeastSquares:
        """The problem of some of the tasks."""
        H = self.H if self.n_grams == 1 else self.H[chosen]
        return GramLeastSquares(H, self.r[:, chosen], squares=self.squares[chosen])


class LeastSquaresOfData:
    """Least squares by its data. Gram matrices of the rows that were asked for are kept."""

    def __init__(self, pieces: Sequence[Whitened], *, n_features: int) -> None:
        """One piece that all tasks share, or one for each."""
        self.pieces = tuple(pieces)
        self.n_grams = len(self.pieces)
        self.n_features = n_features
        ends = list(accumulate((len(piece.targets) for piece in self.pieces), initial=0))
        self.spans = tuple(slice(start, end) for start, end in pairwise(ends))
        self.n_tasks = ends[-1]
        self.n_samples = sum(piece.design.n_samples for piece in self.pieces)
        self._known = KnownGrams(self.pieces, n_features)
        self.known_rows = KnownRows(self.pieces, n_features)

    @property
    def is_dense(self) -> bool:
        """Whether every design is written out."""
        return all(isinstance(piece.design, DenseDesign) for piece in self.pieces)

    @cached_property
    def squares(self) -> Array:
        """``scale_t ||y_t||^2``, shape (T,)."""
        return np.concatenate([piece.scale * np.vecdot(piece.targets, piece.targets) for piece in self.pieces])

    @cached_property
    def square(self) -> float:
        return float(self.squares.sum())

    @cached_property
    def r(self) -> Array:
        return self._correlated([piece.targets for piece in self.pieces])

    def residuals(self, A: Array) -> list[Array]:
        """``y - Z a`` of every piece, shapes (tasks of the piece, n)."""
        support = np.flatnonzero(A.any(axis=1))
        if len(support) == 0:
            return [piece.targets for piece in self.pieces]
        taken = np.ascontiguousarray(A[support].T)
        pairs = zip(self.pieces, self.spans, strict=True)
        return [piece.targets - piece.design.times(taken[span], support) for piece, span in pairs]

    def at(self, A: Array) -> RiskPoint:
        if not A.any():
            return self._at_zero
        residuals = self.residuals(A)
        rests = [piece.scale * np.vecdot(R, R) for piece, R in zip(self.pieces, residuals, strict=True)]
        return _point(np.concatenate(rests), self._correlated(residuals), A)

    @cached_property
    def _at_zero(self) -> RiskPoint:
        return RiskPoint(self.square / 2, SquaredDual(self.r, self.squares, self.squares))

    def _correlated(self, residuals: Sequence[Array]) -> Array:
        G = np.empty((self.n_tasks, self.n_features))
        for piece, span, R in zip(self.pieces, self.spans, residuals, strict=True):
            G[span] = piece.design.correlate(R)
            G[span] *= piece.scale
        return G.T

    def grams(self, rows: Rows) -> Array:
        return self._known.among(rows)

    def each_task(self) -> list[Whitened]:
        """The piece of every task."""
        return [piece for piece in self.pieces for _ in piece.targets]

    def columns(self, rows: Rows) -> Array:
        """Columns of the designs, those of one task after the other, shape (m, N)."""
        columns = [piece.design.columns(rows) for piece in self.pieces]
        return np.ascontiguousarray(columns[0]) if len(columns) == 1 else np.concatenate(columns, axis=1)

    @cached_property
    def whole(self) -> GramLeastSquares:
        """The same with all Gram matrices computed: O(n d^2) each."""
        H = np.empty((self.n_grams, self.n_features, self.n_features))
        for gram, piece in zip(H, self.pieces, strict=True):
            piece.design.gram(gram)
            gram *= piece.scale
        return GramLeastSquares(H, self.r, squares=self.squares)

    @cached_property
    def by_rows(self) -> GramRows:
        """The same with rows of the Gram matrices computed as they are needed."""
        return GramRows(self, self.known_rows)

    @cached_property
    def curvatures(self) -> Array:
        return np.stack([piece.scale * piece.design.squares for piece in self.pieces])

    def task(self, t: int) -> LeastSquares:
        if "whole" in self.__dict__:
            return self.whole.task(t)
        place = min(t, self.n_grams - 1)
        piece, column = self.pieces[place], t - self.spans[place].start
        alone = LeastSquaresOfData(
            [replace(piece, targets=piece.targets[column : column + 1])], n_features=self.n_features
        )
        if self.n_grams == 1:
            alone._known, alone.known_rows = self._known, self.known_rows
        return alone


class KnownGrams:
    """Gram matrices of some rows, extended by products with those rows only that are asked for and not known."""

    def __init__(self, pieces: Sequence[Whitened], n_features: int) -> None:
        """Nothing is computed yet."""
        self._pieces = pieces
        self._places = np.full(n_features, -1)
        self._rows: Rows = np.zeros(0, dtype=np.intp)
        self._grams: Array = np.zeros((len(pieces), 0, 0))

    def among(self, rows: Rows) -> Array:
        """``H_t[rows][:, rows]``, shape (1 or T, m, m)."""
        new = rows[self._places[rows] < 0]
        if len(new):
            self._extend(new)
        if np.array_equal(rows, self._rows):
            return self._grams
        places = self._places[rows]
        return self._grams.take(places, axis=1).take(places, axis=2)

    def _extend(self, new: Rows) -> None:
        m, known = len(self._rows), self._rows
        larger = np.empty((len(self._pieces), m + len(new), m + len(new)))
        for gram, piece in zip(larger, self._pieces, strict=True):
            np.multiply(piece.design.cross(new, new), piece.scale, out=gram[m:, m:])
            if m:
                np.multiply(piece.design.cross(new, known), piece.scale, out=gram[m:, :m])
                gram[:m, m:] = gram[m:, :m].T
        larger[:, :m, :m] = self._grams
        self._places[new] = m + np.arange(len(new))
        self._rows = np.concatenate([known, new])
        self._grams = larger


class KnownRows:
    """Rows of Gram matrices, computed when they are asked for: m of them cost O(N m d), once."""

    def __init__(self, pieces: Sequence[Whitened], n_features: int) -> None:
        """Nothing is computed yet."""
        self._pieces = pieces
        self._places = np.full(n_features, -1)
        self.rows: Rows = np.zeros(0, dtype=np.intp)
        self.H: Array = np.zeros((len(pieces), 0, n_features))

    def unknown(self, rows: Rows) -> Rows:
        """Which of the rows are still to be computed."""
        return rows[self._places[rows] < 0]

    def places(self, rows: Rows) -> Rows:
        """Where ``H_t[rows]`` is among the known rows, shape (m,)."""
        new = self.unknown(rows)
        if len(new):
            m = len(self.rows)
            larger = np.empty((len(self._pieces), m + len(new), len(self._places)))
            larger[:, :m] = self.H
            for H, piece in zip(larger, self._pieces, strict=True):
                np.multiply(piece.design.across(new), piece.scale, out=H[m:])
            self._places[new] = m + np.arange(len(new))
            self.rows, self.H = np.concatenate([self.rows, new]), larger
        found: Rows = self._places[rows]
        return found


class GramRows:
    """Least squares by those rows of the Gram matrices that were asked for.

    Gradients of all rows follow from them at coefficients that are 0 elsewhere: the data are not read again.
    """

    def __init__(self, problem: LeastSquaresOfData, known: KnownRows) -> None:
        """Nothing is computed yet."""
        self.data, self._known = problem, known
        self.n_grams, self.n_features, self.n_tasks = problem.n_grams, problem.n_features, problem.n_tasks
        self.r, self.squares, self.square = problem.r, problem.squares, problem.square
        self._last: tuple[Rows, Array] = known.rows[:0], known.H[:, :0, :0]

    def at(self, A: Array) -> RiskPoint:
        support = np.flatnonzero(A.any(axis=1))
        places = self._known.places(support)
        few = 2 * len(support) <= len(self._known.rows)
        rows, H = (support, self._known.H[:, places]) if few else (self._known.rows, self._known.H)
        taken = A[rows].T  # (T, m)
        product = taken @ H[0] if self.n_grams == 1 else np.matmul(taken[:, None, :], H)[:, 0, :]
        G = self.r - product.T
        rests = self.squares - np.einsum("mt,mt->t", A[support], self.r[support] + G[support])
        return _point(np.maximum(rests, 0.0), G, A)

    def grams(self, rows: Rows) -> Array:
        if not np.array_equal(rows, self._last[0]):
            places = self._known.places(rows)
            self._last = rows, self._known.H.take(places, axis=1).take(rows, axis=2)
        return self._last[1]

    @property
    def curvatures(self) -> Array:
        """As of all least squares."""
        return self.data.curvatures

    def task(self, t: int) -> LeastSquares:
        """As of all least squares."""
        return self.data.task(t)
