"""Hyperparameters of the process, and how they are one vector for the optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from taskloom.gp._observations import Array

__all__ = ["Hyperparameters", "Packing", "Slopes"]

# Of kappa and noise, in units of the variance of the standardised labels; W is free within +- 100.
_SMALLEST, _LARGEST = 1e-6, 1e4


@dataclass(frozen=True)
class Hyperparameters:
    """Covariance over rows, covariance over tasks ``B = W W' + diag(kappa)``, noise.

    Args:
        kernel: a kernel of scikit-learn (``sklearn.gaussian_process.kernels``).
        factors: W, (T, r).
        variances: kappa, (T,), not negative.
        noise: (T,) positive.
    """

    kernel: Any
    factors: Array
    variances: Array
    noise: Array

    @property
    def task_covariance(self) -> Array:
        """B, (T, T)."""
        covariance: Array = self.factors @ self.factors.T + np.diag(self.variances)
        return covariance


@dataclass(frozen=True)
class Slopes:
    """Derivatives of the log marginal likelihood.

    Args:
        kernel: (p,) in the ``theta`` of the kernel.
        tasks: (T, T) in the entries of B, symmetric.
        log_noise: (T,).
    """

    kernel: Array
    tasks: Array
    log_noise: Array


@dataclass(frozen=True)
class Packing:
    """Between hyperparameters and the vector [theta of the kernel, W by rows, log kappa, log noise].

    Args:
        start: hyperparameters of the shapes wanted.
        shared_noise: one noise for all tasks.
    """

    start: Hyperparameters
    shared_noise: bool

    @property
    def _sizes(self) -> list[int]:
        n_tasks, rank = self.start.factors.shape
        return [len(self.start.kernel.theta), n_tasks * rank, n_tasks, 1 if self.shared_noise else n_tasks]

    @property
    def bounds(self) -> Array:
        """(P, 2)."""
        n_kernel, n_factors, n_tasks, n_noise = self._sizes
        logs = np.log([[_SMALLEST, _LARGEST]])
        parts = [np.tile([[-1e2, 1e2]], (n_factors, 1)), np.tile(logs, (n_tasks + n_noise, 1))]
        return np.concatenate([self.start.kernel.bounds, *parts] if n_kernel else parts)

    def pack(self, given: Hyperparameters) -> Array:
        """The vector, inside the bounds."""
        noise = given.noise[:1] if self.shared_noise else given.noise
        with np.errstate(divide="ignore"):
            logs = np.log(np.concatenate([given.variances, noise]))
        vector = np.concatenate([given.kernel.theta, given.factors.ravel(), logs])
        inside: Array = np.clip(vector, self.bounds[:, 0], self.bounds[:, 1])
        return inside

    def unpack(self, vector: Array) -> Hyperparameters:
        """The hyperparameters of a vector."""
        theta, factors, variances, noise = np.split(vector, np.cumsum(self._sizes)[:-1])
        n_tasks = len(self.start.noise)
        return Hyperparameters(
            kernel=self.start.kernel.clone_with_theta(theta),
            factors=factors.reshape(self.start.factors.shape),
            variances=np.exp(variances),
            noise=np.broadcast_to(np.exp(noise), n_tasks).copy(),
        )

    def gradient(self, at: Hyperparameters, slopes: Slopes) -> Array:
        """Derivative in the vector, by the chain rule."""
        factors = 2 * slopes.tasks @ at.factors
        variances = np.diag(slopes.tasks) * at.variances
        noise = slopes.log_noise.sum(keepdims=True) if self.shared_noise else slopes.log_noise
        return np.concatenate([slopes.kernel, factors.ravel(), variances, noise])
