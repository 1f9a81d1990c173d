"""What the convex relaxation of clusters says: a covariance of the tasks, how far each pair shares, and labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from taskloom.regularised.penalties.spectral_box import SpectralBox

__all__ = ["labels_of", "relaxed_covariance", "relaxed_sharing", "sharing_of_features"]

Array = NDArray[np.float64]


def relaxed_covariance(penalty: SpectralBox, A: Array) -> Array:
    """The covariance of the tasks that the penalty chose: its inverse is the precision of a quadratic penalty.

    Args:
        penalty: the relaxation.
        A: coefficients, (d, T).

    Returns:
        (T, T).
    """
    n_tasks = A.shape[1]
    chosen = _chosen(penalty, penalty.split(A)[1])
    if penalty.mean_strength is None:
        return chosen
    mean = np.full((n_tasks, n_tasks), 1 / n_tasks)
    centring = np.eye(n_tasks) - mean
    covariance: Array = centring @ chosen @ centring + mean / penalty.mean_strength
    return covariance


def relaxed_sharing(penalty: SpectralBox, A: Array) -> Array:
    """The relaxed matrix M of clusters: ``1 / T_c`` for two tasks of one cluster of T_c tasks, 0 for others.

    Args:
        penalty: the relaxation.
        A: coefficients, (d, T).

    Returns:
        (T, T), eigenvalues from 0 to 1.
    """
    n_tasks = A.shape[1]
    chosen, mean = _chosen(penalty, penalty.split(A)[1]), np.zeros((n_tasks, n_tasks))
    if penalty.mean_strength is not None:  # the mean is a direction that all tasks share
        mean += 1 / n_tasks
    centring = np.eye(n_tasks) - mean
    sharing: Array = (centring @ chosen @ centring - penalty.low * centring) / (penalty.high - penalty.low) + mean
    return sharing


def sharing_of_features(penalty: SpectralBox, coef: Array) -> Array:
    """The same seen from the features: the relaxed projection on the directions that the tasks share.

    Args:
        penalty: the relaxation, without a mean.
        coef: (T, d).

    Returns:
        (d, d), eigenvalues from 0 to 1, the same trace as the matrix of the tasks.
    """
    n_tasks, n_features = coef.shape
    width = penalty.high - penalty.low
    n_directions = (penalty.total - n_tasks * penalty.low) / width
    if n_directions >= n_features:
        return np.eye(n_features)
    total = n_features * penalty.low + n_directions * width
    return relaxed_sharing(replace(penalty, total=total), coef)


def _chosen(penalty: SpectralBox, rest: Array) -> Array:
    """``V diag(theta) V'`` with the right singular vectors V, all T of them."""
    _, s, transposed = np.linalg.svd(rest, full_matrices=True)
    theta = penalty.weights(s, rest.shape[1])
    chosen: Array = (transposed.T * theta) @ transposed
    return chosen


def labels_of(sharing: Array, n_clusters: int) -> NDArray[np.intp]:
    """k-means on the leading eigenvectors of what is shared.

    Args:
        sharing: (T, T).
        n_clusters: number of clusters.

    Returns:
        (T,).
    """
    _, vectors = np.linalg.eigh(sharing)
    means = KMeans(n_clusters, n_init=10, random_state=0).fit(vectors[:, -n_clusters:])
    return np.asarray(means.labels_, dtype=np.intp)
