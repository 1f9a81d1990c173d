"""Designs as least squares sees them: weighted by the roots of the sample weights and freed of what is not penalised.

Intercepts and unpenalised features are solved for exactly whatever the other coefficients are: projecting the design
and the targets on the complement of their columns leaves a problem without them. For an intercept alone this is
centring. A dense design is projected once; a sparse one keeps ``Z = X - B C`` with a thin ``B C`` that is never
multiplied out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csc_array, diags_array, issparse

from taskloom.regularised.data import Array, Design

__all__ = ["DenseDesign", "DesignMatrix", "SparseDesign", "whiten", "written_out"]

Rows = NDArray[np.intp]

# A centred column this small beside the column itself is rounding: the column is constant.
_CONSTANT = (64 * float(np.finfo(np.float64).eps)) ** 2

# OpenBLAS multiplies matrices of so many multiplications, or of less, without copying them first: twice as fast where a
# few vectors are multiplied with a large design. Slices of the design narrower than a few columns gain nothing.
_SMALL_PRODUCT, _FEW = 1_000_000, 8


class DesignMatrix(Protocol):
    """A matrix Z of shape (n, d). Residuals and coefficients have the tasks first: products with Z run along memory."""

    @property
    def n_samples(self) -> int:
        """Rows n."""
        ...

    def times(self, A: Array, rows: Rows) -> Array:
        """``A @ Z[:, rows]'`` for A of shape (k, m): shape (k, n)."""
        ...

    def correlate(self, R: Array) -> Array:
        """``R @ Z`` for R of shape (k, n): shape (k, d)."""
        ...

    def cross(self, rows: Rows, others: Rows) -> Array:
        """``Z[:, rows]' Z[:, others]``."""
        ...

    def across(self, rows: Rows) -> Array:
        """``Z[:, rows]' Z``, shape (m, d)."""
        ...

    def gram(self, out: Array) -> None:
        """Write ``Z' Z`` into an array of shape (d, d)."""
        ...

    def columns(self, rows: Rows) -> Array:
        """``Z[:, rows]'``, shape (m, n), each column of Z in one piece."""
        ...

    @property
    def squares(self) -> Array:
        """Squared lengths of the columns, shape (d,)."""
        ...


class DenseDesign:
    """A matrix that is written out. Columns that were asked for are kept in one piece each."""

    def __init__(self, matrix: Array) -> None:
        """Shape (n, d)."""
        self.matrix = matrix
        self.n_samples = len(matrix)
        self._places = np.full(matrix.shape[1], -1)
        self._kept: Array = np.empty((0, len(matrix)))
        self._n_kept = 0

    def times(self, A: Array, rows: Rows) -> Array:
        product: Array = A @ self.columns(rows)
        return product

    def correlate(self, R: Array) -> Array:
        n_features, wide = self.matrix.shape[1], _SMALL_PRODUCT // max(R.size, 1)
        if not _FEW <= wide < n_features or len(R) == 1:
            product: Array = R @ self.matrix
            return product
        product = np.empty((len(R), n_features))
        for start in range(0, n_features, wide):
            np.matmul(R, self.matrix[:, start : start + wide], out=product[:, start : start + wide])
        return product

    def cross(self, rows: Rows, others: Rows) -> Array:
        columns = self.columns(rows)
        if others is not rows:
            beside = self.columns(others)
        else:  # a matrix times its own transpose takes half of the multiplications, but not as a small product
            beside = columns.copy() if columns.size * len(rows) <= _SMALL_PRODUCT else columns
        product: Array = columns @ beside.T
        return product

    def across(self, rows: Rows) -> Array:
        product: Array = self.columns(rows) @ self.matrix
        return product

    def gram(self, out: Array) -> None:
        np.matmul(self.matrix.T, self.matrix, out=out)

    @cached_property
    def squares(self) -> Array:
        squares: Array = np.einsum("nd,nd->d", self.matrix, self.matrix)
        return squares

    def columns(self, rows: Rows) -> Array:
        if self.matrix.flags.f_contiguous:
            return np.take(self.matrix.T, rows, axis=0)
        self._keep(rows[self._places[rows] < 0])
        places = self._places[rows]
        if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            return self._kept[places[0] : places[0] + len(places)]
        return np.take(self._kept, places, axis=0)

    def _keep(self, new: Rows) -> None:
        if len(new) == 0:
            return
        end = self._n_kept + len(new)
        if end > len(self._kept):
            larger = np.empty((min(max(end, 2 * len(self._kept)), self.matrix.shape[1]), self.n_samples))
            larger[: self._n_kept] = self._kept[: self._n_kept]
            self._kept = larger
        self._kept[self._n_kept : end] = self.matrix[:, new].T
        self._places[new] = np.arange(self._n_kept, end)
        self._n_kept = end


@dataclass(frozen=True)
class SparseDesign:
    """``Z = matrix - basis @ loads`` with a sparse matrix and orthonormal columns of the basis, ``basis' Z = 0``."""

    matrix: csc_array
    basis: Array  # (n, p)
    loads: Array  # (p, d): basis' matrix

    @property
    def n_samples(self) -> int:
        return int(self.matrix.shape[0])

    def times(self, A: Array, rows: Rows) -> Array:
        product: Array = (self.matrix[:, rows] @ A.T).T - (A @ self.loads[:, rows].T) @ self.basis.T
        return product

    def correlate(self, R: Array) -> Array:
        product: Array = (self.matrix.T @ R.T).T - (R @ self.basis) @ self.loads
        return product

    def cross(self, rows: Rows, others: Rows) -> Array:
        product = (self.matrix[:, rows].T @ self.matrix[:, others]).toarray()
        difference: Array = product - self.loads[:, rows].T @ self.loads[:, others]
        return difference

    def across(self, rows: Rows) -> Array:
        product = (self.matrix[:, rows].T @ self.matrix).toarray()
        difference: Array = product - self.loads[:, rows].T @ self.loads
        return difference

    def gram(self, out: Array) -> None:
        out[:] = (self.matrix.T @ self.matrix).toarray() - self.loads.T @ self.loads

    def columns(self, rows: Rows) -> Array:
        columns: Array = self.matrix[:, rows].toarray().T - self.loads[:, rows].T @ self.basis.T
        return np.ascontiguousarray(columns)

    @cached_property
    def squares(self) -> Array:
        raw = np.asarray(self.matrix.multiply(self.matrix).sum(axis=0)).ravel()
        squares = raw - np.einsum("pd,pd->d", self.loads, self.loads)
        return np.where(squares > _CONSTANT * raw, squares, 0.0)


@dataclass(frozen=True)
class Whitened:
    """One design with the targets of its k tasks: the loss is ``scale / 2 * ||targets - A design'||^2``."""

    design: DesignMatrix
    targets: Array  # (k, n)
    scale: float


def whiten(X: Design, Y: Array, *, weights: Array, fit_intercept: bool, free: Rows) -> Whitened:
    """Weigh, and project away intercepts and the free columns.

    Args:
        X: shape (n, d).
        Y: targets of the k tasks with this design, shape (k, n).
        weights: shape (n,).
        fit_intercept: whether there is an intercept.
        free: columns that are not penalised; they become zero.
    """
    root, scale = None, float(weights[0]) if len(weights) else 0.0
    if len(weights) and weights.min() != weights.max():
        root, scale = np.sqrt(weights), 1.0
        Y = root * Y
    if not fit_intercept and len(free) == 0 and not issparse(X):
        return Whitened(DenseDesign(X if root is None else root[:, None] * X), np.ascontiguousarray(Y), scale)
    columns = _columns_to_remove(X, root, fit_intercept, free)
    basis = _basis(columns)
    Y = Y - (Y @ basis) @ basis.T if basis.shape[1] else Y
    design = _sparse(X, root, basis, free) if issparse(X) else _dense(X, root, basis, fit_intercept, free)
    return Whitened(design, np.ascontiguousarray(Y), scale)


def _columns_to_remove(X: Design, root: Array | None, fit_intercept: bool, free: Rows) -> Array:
    n = X.shape[0]
    columns = np.concatenate([np.ones((n, int(fit_intercept))), written_out(X, free)], axis=1)
    return columns if root is None else root[:, None] * columns


def written_out(X: Design, columns: Rows) -> Array:
    """Some columns of a design as a dense matrix, shape (n, m)."""
    taken: Any = X[:, columns]
    return np.asarray(taken.toarray() if issparse(taken) else taken)


def _basis(columns: Array) -> Array:
    """Orthonormal columns that span the given ones."""
    lengths = np.sqrt(np.einsum("np,np->p", columns, columns))
    columns = columns[:, lengths > 0] / lengths[lengths > 0]
    if columns.shape[1] < 2:
        return columns
    left, values, _ = scipy.linalg.svd(columns, full_matrices=False)
    basis: Array = left[:, values > 1e-11 * values[0]]
    return basis


def _dense(X: Array, root: Array | None, basis: Array, fit_intercept: bool, free: Rows) -> DenseDesign:
    if root is not None:
        X = root[:, None] * X
    if basis.shape[1] == 0:
        return DenseDesign(X)
    if basis.shape[1] == 1 and root is None and fit_intercept:
        mean = X.mean(axis=0)
        Z = X - mean
        before = len(X) * mean**2
    else:
        Z = X - basis @ (basis.T @ X)
        before = np.einsum("nd,nd->d", X, X)
    after = np.einsum("nd,nd->d", Z, Z)
    Z[:, after <= _CONSTANT * before] = 0.0
    Z[:, free] = 0.0
    return DenseDesign(Z)


def _sparse(X: csc_array, root: Array | None, basis: Array, free: Rows) -> SparseDesign:
    if root is not None:
        X = csc_array(diags_array(root) @ X)
    if len(free):
        keep = np.ones(X.shape[1])
        keep[free] = 0.0
        X = csc_array(X @ diags_array(keep))
    return SparseDesign(X, basis, (X.T @ basis).T)
