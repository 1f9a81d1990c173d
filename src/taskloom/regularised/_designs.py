"""Designs as least squares sees them: weighted by the roots of the sample weights and freed of what is not penalised.

Intercepts and unpenalised features are solved for exactly whatever the other coefficients are: projecting the design
and the targets on the complement of their columns leaves a problem without them. For an intercept alone this is
centring. A dense design is projected once; a sparse one keeps ``Z = X - B C`` with a thin ``B C`` that is never
multiplied out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csc_array, diags_array, issparse

from taskloom.regularised.data import Array, Design

__all__ = ["DenseDesign", "DesignMatrix", "SparseDesign", "whiten", "written_out"]

Rows = NDArray[np.intp]

# A centred column this small beside the column itself is rounding: the column is constant.
_CONSTANT = (64 * float(np.finfo(np.float64).eps)) ** 2


class DesignMatrix(Protocol):
    """A matrix Z of shape (n, d)."""

    @property
    def n_samples(self) -> int:
        """Rows n."""
        ...

    def times(self, A: Array, rows: Rows) -> Array:
        """``Z[:, rows] @ A``, shape (n, k)."""
        ...

    def correlate(self, R: Array) -> Array:
        """``Z' R``, shape (d, k)."""
        ...

    def cross(self, rows: Rows, others: Rows) -> Array:
        """``Z[:, rows]' Z[:, others]``."""
        ...

    def gram(self) -> Array:
        """``Z' Z``, shape (d, d)."""
        ...

    def columns(self, rows: Rows) -> Array:
        """``Z[:, rows]'``, shape (m, n), each column of Z in one piece."""
        ...

    @property
    def squares(self) -> Array:
        """Squared lengths of the columns, shape (d,)."""
        ...


@dataclass(frozen=True)
class DenseDesign:
    """A matrix that is written out."""

    matrix: Array

    @property
    def n_samples(self) -> int:
        return len(self.matrix)

    def times(self, A: Array, rows: Rows) -> Array:
        product: Array = (self.matrix if len(rows) == self.matrix.shape[1] else self.matrix[:, rows]) @ A
        return product

    def correlate(self, R: Array) -> Array:
        product: Array = self.matrix.T @ R
        return product

    def cross(self, rows: Rows, others: Rows) -> Array:
        product: Array = self.matrix[:, rows].T @ self.matrix[:, others]
        return product

    def gram(self) -> Array:
        product: Array = self.matrix.T @ self.matrix
        return product

    @cached_property
    def squares(self) -> Array:
        squares: Array = np.einsum("nd,nd->d", self.matrix, self.matrix)
        return squares

    def columns(self, rows: Rows) -> Array:
        return np.ascontiguousarray(self.matrix[:, rows].T)


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
        product: Array = self.matrix[:, rows] @ A - self.basis @ (self.loads[:, rows] @ A)
        return product

    def correlate(self, R: Array) -> Array:
        product: Array = self.matrix.T @ R - self.loads.T @ (self.basis.T @ R)
        return product

    def cross(self, rows: Rows, others: Rows) -> Array:
        product = (self.matrix[:, rows].T @ self.matrix[:, others]).toarray()
        difference: Array = product - self.loads[:, rows].T @ self.loads[:, others]
        return difference

    def gram(self) -> Array:
        difference: Array = (self.matrix.T @ self.matrix).toarray() - self.loads.T @ self.loads
        return difference

    @cached_property
    def squares(self) -> Array:
        raw = np.asarray(self.matrix.multiply(self.matrix).sum(axis=0)).ravel()
        squares = raw - np.einsum("pd,pd->d", self.loads, self.loads)
        return np.where(squares > _CONSTANT * raw, squares, 0.0)

    def columns(self, rows: Rows) -> Array:
        columns: Array = self.matrix[:, rows].toarray().T - self.loads[:, rows].T @ self.basis.T
        return np.ascontiguousarray(columns)


@dataclass(frozen=True)
class Whitened:
    """One design with its targets: the loss is ``scale / 2 * ||targets - design A||^2``."""

    design: DesignMatrix
    targets: Array  # (n, k)
    scale: float


def whiten(X: Design, Y: Array, *, weights: Array, fit_intercept: bool, free: Rows) -> Whitened:
    """Weigh, and project away intercepts and the free columns.

    Args:
        X: shape (n, d).
        Y: targets of the k tasks with this design, shape (n, k).
        weights: shape (n,).
        fit_intercept: whether there is an intercept.
        free: columns that are not penalised; they become zero.
    """
    root, scale = None, float(weights[0]) if len(weights) else 0.0
    if len(weights) and weights.min() != weights.max():
        root, scale = np.sqrt(weights), 1.0
        Y = root[:, None] * Y
    columns = _columns_to_remove(X, root, fit_intercept, free)
    basis = _basis(columns)
    Y = Y - basis @ (basis.T @ Y) if basis.shape[1] else Y
    design = _sparse(X, root, basis, free) if issparse(X) else _dense(X, root, basis, fit_intercept, free)
    return Whitened(design, np.ascontiguousarray(Y), scale)


def _columns_to_remove(X: Design, root: Array | None, fit_intercept: bool, free: Rows) -> Array:
    n = X.shape[0]
    columns = np.concatenate([np.ones((n, int(fit_intercept))), written_out(X, free)], axis=1)
    return columns if root is None else root[:, None] * columns


def written_out(X: Design, columns: Rows) -> Array:
    """Some columns of a design as a dense matrix, shape (n, m)."""
    taken = X[:, columns]
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
