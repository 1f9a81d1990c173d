"""Few tasks of few features: the whole matrix of the system, factored."""

from __future__ import annotations

import numpy as np
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
        n_tasks, n_features = self.shape
        inverse = cho_solve(self.factor, np.eye(n_tasks * n_features), check_finite=False)
        found = []
        for task in range(n_tasks):
            place = slice(task * n_features, (task + 1) * n_features)
            scaled = self.rows.scaled_rows(task)
            found.append(np.einsum("nd,nd->n", scaled @ inverse[place, place], scaled))
        return tuple(found)
