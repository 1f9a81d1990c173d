"""Likelihood and posterior where all tasks share their rows, by two small eigendecompositions: O(n^3 + T^3).

With rows weighted by S = diag(s) and noise D = diag(v), the covariance is

    Sigma = (D^1/2 x S^-1/2) (B~ x K~ + I) (D^1/2 x S^-1/2),   B~ = D^-1/2 B D^-1/2,   K~ = S^1/2 K S^1/2

and with B~ = U diag(e) U', K~ = V diag(l) V' the middle factor has the eigenvalues l_i e_j + 1. The nT x nT matrix is
never formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from taskloom.gp._covariance import contracted_slopes
from taskloom.gp._hyperparameters import Hyperparameters, Slopes
from taskloom.gp._observations import Array, Grid

__all__ = ["GridPosterior", "grid_likelihood", "grid_posterior"]


@dataclass(frozen=True)
class _Spectrum:
    """Both eigendecompositions and the labels in their bases."""

    kernel: Array  # K, (n, n)
    rows: Array  # S^1/2, (n,)
    tasks: Array  # D^1/2, (T,)
    row_values: Array  # l, (n,)
    row_vectors: Array  # V, (n, n)
    task_values: Array  # e, (T,)
    task_vectors: Array  # U, (T, T)
    shrinkage: Array  # 1 / (l_i e_j + 1), (n, T)
    rotated: Array  # V' S^1/2 Y D^-1/2 U, (n, T)

    @property
    def dual(self) -> Array:
        """A~ = V (C * Z) U', (n, T)."""
        return self.row_vectors @ (self.shrinkage * self.rotated) @ self.task_vectors.T


def _spectrum(grid: Grid, given: Hyperparameters) -> _Spectrum:
    rows, tasks = np.sqrt(grid.weights), np.sqrt(given.noise)
    kernel = given.kernel(grid.inputs)
    row_values, row_vectors = eigh(rows[:, None] * kernel * rows)
    task_values, task_vectors = eigh(given.task_covariance / np.multiply.outer(tasks, tasks))
    products = np.multiply.outer(np.maximum(row_values, 0.0), np.maximum(task_values, 0.0))
    whitened = rows[:, None] * grid.targets / tasks
    return _Spectrum(
        kernel=kernel,
        rows=rows,
        tasks=tasks,
        row_values=row_values,
        row_vectors=row_vectors,
        task_values=task_values,
        task_vectors=task_vectors,
        shrinkage=1 / (1 + products),
        rotated=row_vectors.T @ whitened @ task_vectors,
    )


def _value(grid: Grid, given: Hyperparameters, basis: _Spectrum) -> float:
    n, n_tasks = grid.targets.shape
    fit = -0.5 * float((basis.shrinkage * basis.rotated**2).sum())
    scale = n * np.log(given.noise).sum() - n_tasks * np.log(grid.weights).sum()
    volume = 0.5 * float(scale - np.log(basis.shrinkage).sum() + n * n_tasks * np.log(2 * np.pi))
    return fit - volume + grid.terms.value(given.noise)


def grid_likelihood(grid: Grid, given: Hyperparameters) -> tuple[float, Slopes]:
    """Log marginal likelihood and its derivatives."""
    basis = _spectrum(grid, given)
    dual, shrinkage = basis.dual, basis.shrinkage
    U, V = basis.task_vectors, basis.row_vectors
    whitened_kernel = basis.rows[:, None] * basis.kernel * basis.rows
    whitened_tasks = (U * basis.task_values) @ U.T
    by_task = dual.T @ whitened_kernel @ dual - (U * (basis.row_values @ shrinkage)) @ U.T
    by_row = dual @ whitened_tasks @ dual.T - (V * (shrinkage @ basis.task_values)) @ V.T
    log_noise = 0.5 * ((dual**2).sum(axis=0) - U**2 @ shrinkage.sum(axis=0)) + grid.terms.slope(given.noise)
    matrix = 0.5 * basis.rows[:, None] * by_row * basis.rows
    kernel = contracted_slopes(given.kernel, grid.inputs, values=basis.kernel, matrix=matrix)
    tasks = 0.5 * by_task / np.multiply.outer(basis.tasks, basis.tasks)
    return _value(grid, given, basis), Slopes(kernel, tasks, log_noise)


@dataclass(frozen=True)
class GridPosterior:
    """Conditional process; every task is predicted at every row.

    Args:
        points: what it is conditioned on.
        task_covariance: B, (T, T).
        weights: of the kernel at each input, one column per task: Sigma^-1 y as a table, times B; (n, T).
        row_basis: S^1/2 V, (n, n).
        task_basis: B D^-1/2 U, (T, T).
        shrinkage: (n, T).
    """

    points: Grid
    task_covariance: Array
    weights: Array
    row_basis: Array
    task_basis: Array
    shrinkage: Array

    def mean_grid(self, cross: Array) -> Array:
        """Mean of every task at m rows, (m, T); ``cross`` is the kernel between rows and inputs, (m, n)."""
        return cross @ self.weights

    def variance_grid(self, cross: Array, prior: Array) -> Array:
        """Variance of every task at m rows, (m, T); ``prior`` is the kernel of each row with itself, (m,)."""
        explained = (cross @ self.row_basis) ** 2 @ self.shrinkage @ (self.task_basis**2).T
        return np.maximum(np.multiply.outer(prior, np.diag(self.task_covariance)) - explained, 0.0)


def grid_posterior(grid: Grid, given: Hyperparameters) -> tuple[GridPosterior, float]:
    """The posterior and the log marginal likelihood."""
    basis = _spectrum(grid, given)
    covariance = given.task_covariance
    dual = basis.rows[:, None] * basis.dual / basis.tasks
    posterior = GridPosterior(
        points=grid,
        task_covariance=covariance,
        weights=dual @ covariance,
        row_basis=basis.rows[:, None] * basis.row_vectors,
        task_basis=(covariance / basis.tasks) @ basis.task_vectors,
        shrinkage=basis.shrinkage,
    )
    return posterior, _value(grid, given, basis)
