r"""Many tasks and a coupling of low rank: one small system per task and one for the directions that tie them.

With ``Q = base (I - V V') + V diag(values) V'`` write ``A = B V' + E`` with ``E V = 0``. Then, with
``M_t = (H_t + base I)^-1`` and v_t the row of V,

    e_t = M_t (r_t - (H_t B + B diag(values)) v_t)
    sum_t M_t (H_t B + B diag(values)) v_t v_t' = sum_t M_t r_t v_t'        (from E V = 0)

All terms of the second line are positive, so nothing cancels however strong the coupling.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_factor, lu_solve

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["LowRank"]


class LowRank:
    """``H_t a_t + (A Q)_t = r_t`` in T systems of d equations and one of k d.

    Args:
        rows: least squares of the tasks.
        coupling: Q with k vectors.

    Example:
        >>> from taskloom.regularised import TaskData
        >>> X, y, w = np.eye(2), np.array([1.0, 2.0]), np.ones(2)
        >>> rows = Centred(TaskData((X, 2 * X), (y, y), (w, w)), "none")
        >>> LowRank(rows, TaskCoupling.to_mean(2, alpha=1.0, coupling=1.0)).solve(rows.right_hand_sides)
        array([[0.5, 0.4],
               [1. , 0.8]])
    """

    def __init__(self, rows: Centred, coupling: TaskCoupling) -> None:
        self.rows = rows
        self.coupling = coupling
        n_features = rows.data.n_features
        shifted = rows.grams + coupling.base * np.eye(n_features)
        self.inverses: Array = np.asarray(np.linalg.inv(shifted))  # M_t, (T, d, d)
        self.shrunk: Array = np.asarray(np.linalg.solve(shifted, rows.grams))  # M_t H_t
        self.factor = lu_factor(self._small_system(), check_finite=False)

    def _small_system(self) -> Array:
        vectors, values = self.coupling.vectors, self.coupling.values
        n_vectors, n_features = len(values), self.rows.data.n_features
        pairs = np.einsum("tk,tl->klt", vectors, vectors).reshape(n_vectors**2, -1)
        shape = (n_vectors, n_vectors, n_features, n_features)
        by_gram = (pairs @ self._flat(self.shrunk)).reshape(shape)
        by_value = (pairs @ self._flat(self.inverses)).reshape(shape) * values[None, :, None, None]
        size = n_vectors * n_features
        system: Array = (by_gram + by_value).transpose(0, 2, 1, 3).reshape(size, size)
        return system

    def _flat(self, matrices: Array) -> Array:
        n_tasks = self.coupling.n_tasks
        return np.broadcast_to(matrices, (n_tasks, *matrices.shape[1:])).reshape(n_tasks, -1)

    def solve(self, R: Array) -> Array:
        """A for the right-hand sides R, both of shape (d, T)."""
        vectors = self.coupling.vectors
        target = self._times_inverse(R) @ vectors  # (d, k)
        B = lu_solve(self.factor, target.T.ravel(), check_finite=False).reshape(vectors.shape[1], -1).T
        known = B @ vectors.T  # (d, T)
        pulled = np.einsum("tde,et->dt", self._all(self.rows.grams), known) + (B * self.coupling.values) @ vectors.T
        beside: Array = self._times_inverse(R - pulled)
        found: Array = known + self.coupling.split(beside)[1]
        return found

    def _times_inverse(self, R: Array) -> Array:
        found: Array = np.einsum("tde,et->dt", self._all(self.inverses), R)
        return found

    def _all(self, matrices: Array) -> Array:
        return np.broadcast_to(matrices, (self.coupling.n_tasks, *matrices.shape[1:]))

    def leverages(self) -> tuple[Array, ...]:
        """Weight of each sample in its own fitted value, without the part of the intercept."""
        own, spread, pulled = self._samples
        ends = np.cumsum([len(target) for target in self.rows.data.targets])[:-1]
        return tuple(np.split(own + np.einsum("np,np->n", pulled, spread), ends))

    def blocks(self, groups: NDArray[np.intp]) -> Array:
        """Weights of samples (G, m) in each other's fitted values, (G, m, m)."""
        own, spread, pulled = self._samples
        found: Array = pulled[groups] @ np.swapaxes(spread[groups], 1, 2)
        return found + own[groups][:, :, None] * np.eye(groups.shape[1])

    @cached_property
    def _samples(self) -> tuple[Array, Array, Array]:
        """For each sample x of task t ``x' M_t x`` (N,), ``v_t (x) M_t x`` (N, k d), and these times C (N, k d).

        The block (t, s) of the inverse is ``[t = s] M_t + M_t C_ts M_s`` with C_ts a sum over ``v_t v_s'`` of blocks of
        the inverse small system times ``base - values``.
        """
        vectors, values = self.coupling.vectors, self.coupling.values
        n_vectors, n_features = len(values), self.rows.data.n_features
        inverses, own, spread = self._all(self.inverses), [], []
        for task, v in enumerate(vectors):
            scaled = self.rows.scaled_rows(task)
            inside = scaled @ inverses[task]
            own.append(np.einsum("nd,nd->n", inside, scaled))
            spread.append((v[:, None] * inside[:, None, :]).reshape(len(scaled), -1))
        differences = np.repeat(self.coupling.base - values, n_features)
        small = differences[:, None] * lu_solve(self.factor, np.eye(n_vectors * n_features), check_finite=False)
        every = np.concatenate(spread)
        return np.concatenate(own), every, every @ small
