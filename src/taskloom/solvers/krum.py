"""Krum: which vectors lie closest to their neighbours, from inner products.

    s_i = sum of ||g_i - g_j||^2 over the K - f - 2 nearest j,   ||g_i - g_j||^2 = G_ii + G_jj - 2 G_ij

Source:
    Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    NeurIPS 2017, arXiv 1703.02757.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["closest"]

Array = NDArray[np.float64]


def closest(G: Array, n_byzantine: int, n_selected: int) -> Array:
    """Equal weights of the vectors with the smallest sums; vectors that tie with the last of them are selected too.

    Args:
        G: inner products of the vectors, shape (K, K).
        n_byzantine: f, how many vectors may be anything; with fewer than f + 3 vectors the nearest neighbour counts.
        n_selected: how many vectors to select.

    Returns:
        w, shape (K,).

    Example:
        >>> rows = np.array([[1.0, 0.0], [1.1, 0.0], [0.9, 0.0], [9.0, 9.0]])
        >>> closest(rows @ rows.T, 0, 1)
        array([1., 0., 0., 0.])
    """
    n = len(G)
    squares = np.diagonal(G)
    distances = np.maximum(squares[:, np.newaxis] + squares - 2 * G, 0.0)
    np.fill_diagonal(distances, np.inf)
    n_neighbours = min(max(n - n_byzantine - 2, 1), n - 1)
    scores = np.sort(distances, axis=1)[:, :n_neighbours].sum(1)
    # Ties are shared: which of two equal vectors came first must not decide. Two nearest neighbours often tie.
    selected = scores <= np.sort(scores)[min(n_selected, n) - 1]
    weights: Array = selected / np.count_nonzero(selected)
    return weights
