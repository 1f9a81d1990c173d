"""Likelihood and posterior of points anywhere, by a Cholesky factor of their whole covariance: O(N^3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri

from taskloom.gp._covariance import contracted_slopes
from taskloom.gp._hyperparameters import Hyperparameters, Slopes
from taskloom.gp._observations import Array, Points

__all__ = ["DensePosterior", "dense_likelihood", "dense_posterior"]


@dataclass(frozen=True)
class DensePosterior:
    """Conditional process.

    Args:
        points: what it is conditioned on.
        task_covariance: B, (T, T).
        dual: beta = Sigma^-1 y, (N,).
        factor: lower Cholesky factor of Sigma, (N, N).
    """

    points: Points
    task_covariance: Array
    dual: Array
    factor: Array

    def mean(self, cross: Array, mixing: Array) -> Array:
        """Mean at m rows.

        Args:
            cross: kernel between the rows and the inputs of the points, (m, N).
            mixing: the function wanted at each row as weights of the tasks, (m, T) or (1, T).
        """
        return self._joint(cross, mixing) @ self.dual

    def variance(self, cross: Array, mixing: Array, prior: Array) -> Array:
        """Variance at m rows; ``prior`` is the kernel of each row with itself, (m,)."""
        explained = solve_triangular(self.factor, self._joint(cross, mixing).T, lower=True)
        before = np.einsum("ms,st,mt->m", mixing, self.task_covariance, mixing) * prior
        left: Array = np.maximum(before - (explained**2).sum(axis=0), 0.0)
        return left

    def mean_grid(self, cross: Array) -> Array:
        """Mean of every task at m rows, (m, T)."""
        return np.column_stack([self.mean(cross, one[None]) for one in np.eye(len(self.task_covariance))])

    def variance_grid(self, cross: Array, prior: Array) -> Array:
        """Variance of every task at m rows, (m, T)."""
        tasks = np.eye(len(self.task_covariance))
        return np.column_stack([self.variance(cross, one[None], prior) for one in tasks])

    def _joint(self, cross: Array, mixing: Array) -> Array:
        return cross * (mixing @ self.task_covariance)[:, self.points.tasks]


def _covariance(points: Points, given: Hyperparameters) -> tuple[Array, Array, Array]:
    """K (N, N), B between the tasks of the points (N, N), Sigma (N, N)."""
    values = given.kernel(points.inputs)
    between = given.task_covariance[np.ix_(points.tasks, points.tasks)]
    covariance = values * between
    covariance.flat[:: len(covariance) + 1] += given.noise[points.tasks] / points.weights
    return values, between, covariance


def _factorised(covariance: Array) -> Array | None:
    factor, failed = dpotrf(covariance, lower=1, clean=1)
    return None if failed else factor


def _value(points: Points, given: Hyperparameters, dual: Array, factor: Array) -> float:
    fit = -0.5 * float(points.targets @ dual)
    volume = float(np.log(np.diag(factor)).sum() + 0.5 * len(points.targets) * np.log(2 * np.pi))
    return fit - volume + points.terms.value(given.noise)


def dense_likelihood(points: Points, given: Hyperparameters) -> tuple[float, Slopes] | None:
    """Log marginal likelihood and its derivatives; None where the covariance is not positive in double precision."""
    values, between, covariance = _covariance(points, given)
    factor = _factorised(covariance)
    if factor is None:
        return None
    dual = cho_solve((factor, True), points.targets)
    inverse, _ = dpotri(factor, lower=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    outer = np.multiply.outer(dual, dual) - inverse  # 2 d value / d Sigma
    with_kernel = 0.5 * outer * values
    starts = np.searchsorted(points.tasks, np.arange(len(given.noise)))
    by_task = _block_sums(with_kernel, starts, len(points.tasks))
    own = 0.5 * np.diag(outer) * given.noise[points.tasks] / points.weights
    log_noise = np.bincount(points.tasks, weights=own, minlength=len(given.noise)) + points.terms.slope(given.noise)
    kernel = contracted_slopes(given.kernel, points.inputs, values=values, matrix=0.5 * outer * between)
    return _value(points, given, dual, factor), Slopes(kernel, by_task, log_noise)


def _block_sums(matrix: Array, starts: NDArray[np.intp], size: int) -> Array:
    """Sums of the blocks that begin at ``starts``; blocks may be empty."""
    edges = np.append(starts, size)
    indicator = (np.arange(size) >= edges[:-1, None]) & (np.arange(size) < edges[1:, None])
    sums = indicator.astype(np.float64)
    blocks: Array = sums @ matrix @ sums.T
    return blocks


def dense_posterior(points: Points, given: Hyperparameters) -> tuple[DensePosterior, float] | None:
    """The posterior and the log marginal likelihood."""
    _, _, covariance = _covariance(points, given)
    factor = _factorised(covariance)
    if factor is None:
        return None
    dual = cho_solve((factor, True), points.targets)
    return DensePosterior(points, given.task_covariance, dual, factor), _value(points, given, dual, factor)
