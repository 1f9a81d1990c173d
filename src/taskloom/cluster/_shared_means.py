"""Clusters with centres of each task in all features, and centres of all tasks in a subspace that is learnt.

    sum_i within ||x_i - own_{t_i, c_i}||^2 + (1 - within) ||W'x_i - shared_{c_i}||^2,    W'W = I

by turns. Given the clusters c, the best centres are means, and W has the directions in which the rows of a cluster, of
all tasks together, differ least: the eigenvectors of the pooled scatter with the smallest eigenvalues. Given the
centres and W, every row goes to the cluster that costs it least. No turn raises the sum, and there are finitely many
clusterings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = ["Centres", "SharedMeans", "solve_shared_means"]

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

_ROUNDING = 1e-12  # of costs, relative: a row moves only to a cluster that costs less


@dataclass(frozen=True)
class Centres:
    """What a row is compared with.

    Args:
        own: of each task, shape (T, k, d).
        components: W, shape (d, l).
        shared: of all tasks, in the subspace, shape (k, l).
        within: weight of the own centres, from 0 to 1.

    Example:
        >>> centres = Centres(np.array([[[0.0], [4.0]]]), np.eye(1), np.array([[0.0], [4.0]]), 0.5)
        >>> centres.costs(np.array([[1.0]]), np.array([0]))
        array([[1., 9.]])
    """

    own: Array
    components: Array
    shared: Array
    within: float

    def costs(self, X: Array, tasks: Positions) -> Array:
        """What each cluster costs each row, shape (n, k).

        Args:
            X: shape (n, d).
            tasks: position of the task of each row; -1 for the shared part alone.
        """
        costs = (1 - self.within) * _squares(X @ self.components, self.shared)
        for task in range(len(self.own)):
            rows = tasks == task
            costs[rows] += self.within * _squares(X[rows], self.own[task])
        return costs


@dataclass(frozen=True)
class SharedMeans:
    """A clustering that no turn improves, or the last one.

    Args:
        labels: cluster of each row, shape (n,).
        centres: those of the clusters.
        objectives: after every turn, not increasing.
        converged: whether the last turn moved no row.
    """

    labels: Positions
    centres: Centres
    objectives: tuple[float, ...]
    converged: bool


def solve_shared_means(
    X: Array,
    tasks: Positions,
    *,
    labels: Positions,
    n_clusters: int,
    n_components: int,
    within: float,
    max_iterations: int,
) -> SharedMeans:
    """Take turns from a first clustering.

    Args:
        X: rows of all tasks, shape (n, d).
        tasks: position of the task of each row, shape (n,).
        labels: clusters to begin with, shape (n,).
        n_clusters: k.
        n_components: l, from 1 to d.
        within: weight of the own centres, from 0 to 1.
        max_iterations: turns at most.

    Example:
        >>> X, tasks = np.array([[0.0, 0.0], [0.1, 0.0], [5.0, 9.0], [5.1, 9.0]]), np.array([0, 0, 1, 1])
        >>> found = solve_shared_means(
        ...     X, tasks, labels=np.array([0, 1, 0, 1]), n_clusters=2, n_components=1, within=0.9, max_iterations=9)
        >>> found.labels, found.converged
        (array([0, 1, 0, 1]), True)
    """
    n_tasks = int(tasks.max()) + 1
    own = np.stack([np.broadcast_to(X[tasks == t].mean(axis=0), (n_clusters, X.shape[1])) for t in range(n_tasks)])
    pooled = np.broadcast_to(X.mean(axis=0), (n_clusters, X.shape[1]))
    objectives: list[float] = []
    while True:
        own, pooled = _means(X, tasks * n_clusters + labels, own.reshape(-1, X.shape[1])), _means(X, labels, pooled)
        own = own.reshape(n_tasks, n_clusters, -1)
        components = _flattest(X - pooled[labels], n_components)
        centres = Centres(own, components, pooled @ components, within)
        costs = centres.costs(X, tasks)
        current = costs[np.arange(len(X)), labels]
        objectives.append(float(current.sum()))
        best = costs.argmin(axis=1)
        moves = costs[np.arange(len(X)), best] < current - _ROUNDING * (np.abs(current) + objectives[-1] / len(X))
        if not moves.any() or len(objectives) > max_iterations:
            return SharedMeans(labels, centres, tuple(objectives), not moves.any())
        labels = np.where(moves, best, labels)


def _means(X: Array, groups: Positions, last: Array) -> Array:
    """Means of groups of rows; of an empty group the last one."""
    counts = np.bincount(groups, minlength=len(last))
    sums = np.zeros(last.shape)
    np.add.at(sums, groups, X)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], last)


def _flattest(rests: Array, n_components: int) -> Array:
    """Orthonormal directions in which rows vary least, the flattest first, each with its largest entry positive."""
    chosen = (0, n_components - 1)
    directions: Array = scipy.linalg.eigh(rests.T @ rests, subset_by_index=chosen)[1]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(n_components)]
    return directions * np.where(largest < 0, -1.0, 1.0)


def _squares(X: Array, centres: Array) -> Array:
    """Squared distances, shape (n, k); differences first, so that near points keep their digits."""
    return np.stack([((X - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
