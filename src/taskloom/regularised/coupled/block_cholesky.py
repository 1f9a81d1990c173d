"""Few tasks of few features: the whole matrix of the system, factored."""

from __future__ import annotations

from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["BlockCholesky"]


class BlockCholesky:
    """``H_t a_t + (A Q)_t = r_t`` as one system of T d equations: block (t, s) is ``[t = s] H_t + Q_ts I``.

    Args:
        rows: least squares of the tasks.
        coupling: Q.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.eye(2), np.array([1.0, 2.0]), np.ones(2)
        >>> rows = Centred(TaskData((X, 2 * X), (y, y), (w, w)), "none")
        >>> BlockCholesky(rows, TaskCoupling.to_mean(2, alpha=1.0, coupling=1.0)).solve(rows.right_hand_sides)
        array([[0.5, 0.4],
               [1. , 0.8]])
    """

    def __init__(self, rows: Centred, coupling: TaskCoupling) -> None:
        self.rows = rows
        n_tasks, n_features = rows.data.n_tasks, rows.data.n_features
        blocks = np.zeros((n_tasks, n_features, n_tasks, n_features))
        features, tasks = np.arange(n_features), np.arange(n_tasks)
        blocks[:, features, :, features] = coupling.precision
        blocks[tasks, :, tasks, :] += rows.grams
        self.shape = (n_tasks, n_features)
        size = n_tasks * n_features
        self.factor = cho_factor(blocks.reshape(size, size), lower=True, overwrite_a=True, check_finite=False)

    def solve(self, R: Array) -> Array:
        """A for the right-hand sides R, both of shape (d, T)."""
        found: Array = cho_solve(self.factor, R.T.ravel(), check_finite=False).reshape(self.shape).T
        return found

    def leverages(self) -> tuple[Array, ...]:
        """Weight of each sample in its own fitted value, without the part of the intercept."""
        scaled = [self.rows.scaled_rows(task) for task in range(self.shape[0])]
        return tuple(np.einsum("nd,nd->n", own @ self._inverse[task, :, task], own) for task, own in enumerate(scaled))

    def blocks(self, groups: NDArray[np.intp]) -> Array:
        """Weights of samples (G, m) in each other's fitted values, (G, m, m)."""
        tasks, scaled, spread = self._samples
        found = np.empty((*groups.shape, groups.shape[1]))
        for first, second in product(range(groups.shape[1]), repeat=2):
            s, t = groups[:, first], groups[:, second]
            found[:, first, second] = np.einsum("gd,gd->g", spread[s, tasks[t]], scaled[t])
        return found

    @cached_property
    def _inverse(self) -> Array:
        """Shape (T, d, T, d)."""
        identity = np.eye(self.shape[0] * self.shape[1])
        inverse: Array = cho_solve(self.factor, identity, check_finite=False).reshape(*self.shape, *self.shape)
        return inverse

    @cached_property
    def _samples(self) -> tuple[NDArray[np.intp], Array, Array]:
        """Tasks (N,), centred rows times the roots of their weights (N, d), and these times the inverse (N, T, d)."""
        scaled = [self.rows.scaled_rows(task) for task in range(self.shape[0])]
        tasks = np.repeat(np.arange(len(scaled)), [len(own) for own in scaled])
        spread = [np.tensordot(own, self._inverse[task], axes=1) for task, own in enumerate(scaled)]
        return tasks, np.concatenate(scaled), np.concatenate(spread)
