"""Clusters of tasks by turns: coefficients for given clusters, then clusters for given coefficients.

With the clusters fixed the penalty of :class:`ClusteredTasks` is quadratic. With the coefficients fixed it is, up to a
constant, ``(eps_within - eps_between) / 2`` times the sum of squared distances from the means of the clusters, which
k-means lowers. The objective falls with every turn, so the turns end; where they end depends on where they began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from taskloom.regularised.data import Solution

__all__ = ["canonical", "random_labels", "search_clusters"]

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

LESS = 1e-10  # a fall of the objective by a smaller share than this is none


def search_clusters(fit_clusters: Callable[[Labels], Solution], starts: Iterable[Labels]) -> tuple[Labels, Solution]:
    """The best end of several searches.

    Args:
        fit_clusters: from clusters, (T,), to the best coefficients for them.
        starts: clusters to begin with.

    Returns:
        clusters and coefficients.
    """
    seen: dict[bytes, Solution] = {}

    def fit_once(labels: Labels) -> Solution:
        key = labels.tobytes()
        if key not in seen:
            seen[key] = fit_clusters(labels)
        return seen[key]

    ends = [_descend(fit_once, canonical(labels)) for labels in starts]
    return min(ends, key=lambda end: end[1].objective)


def _descend(fit_clusters: Callable[[Labels], Solution], labels: Labels) -> tuple[Labels, Solution]:
    solution = fit_clusters(labels)
    while True:
        moved = _nearest(solution.coefficients.T, labels)
        following = fit_clusters(moved)
        if not following.objective < solution.objective - LESS * abs(solution.objective):
            return labels, solution
        labels, solution = moved, following


def _nearest(coef: Array, labels: Labels) -> Labels:
    """Clusters by k-means, from the means of those given."""
    means = np.stack([coef[labels == cluster].mean(axis=0) for cluster in range(labels.max() + 1)])
    if len(np.unique(coef, axis=0)) < len(means):
        return labels  # fewer different tasks than clusters
    return canonical(KMeans(len(means), init=means, n_init=1).fit(coef).labels_)


def canonical(labels: NDArray[np.integer]) -> Labels:
    """Clusters numbered by their first task."""
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    found: Labels = np.argsort(np.argsort(first))[numbers].astype(np.intp)
    return found


def random_labels(n_tasks: int, n_clusters: int, *, count: int) -> list[Labels]:
    """Clusters drawn at random, always the same ones, none of them empty."""
    rng = np.random.default_rng(0)
    return [rng.permutation(np.arange(n_tasks) % n_clusters) for _ in range(count)]
