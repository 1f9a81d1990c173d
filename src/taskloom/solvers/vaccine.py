"""Gradient vaccine: vectors turned towards each other up to given cosines, from inner products.

For every vector i, start from ``x = g_i`` and visit the others j; with ``phi = cos(x, g_j)``, where ``phi < t_ij``:

    x <- x + a g_j,   a = ||x|| (t sqrt(1 - phi^2) - phi sqrt(1 - t^2)) / (||g_j|| sqrt(1 - t^2))

which makes ``cos(x, g_j) = t_ij``; then ``t_ij <- (1 - beta) t_ij + beta phi`` with phi as it was before. With
``x = J^T c``: ``x . g_j = (G c)_j`` and ``||x||^2 = c^T G c``. All vectors make their n-th visit together.

Source:
    Wang, Tsvetkov, Firat, Cao, "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
    Multilingual Models", ICLR 2021, arXiv 2010.05874.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.solvers._compiled import compiled

__all__ = ["vaccinate"]

Array = NDArray[np.float64]

_HIGHEST = 1 - 1e-6  # of a target: at 1 no finite multiple of g_j reaches it
_VANISHED = 1e-14  # ||x||^2 relative to (sum |c_i| n_i)^2: x has been projected away, its cosines are rounding


def vaccinate(G: Array, target: Array, keys: Array, beta: float) -> tuple[Array, Array]:
    """Coefficients of the turned vectors and the next targets.

    Args:
        G: inner products of the vectors, shape (K, K).
        target: t, shape (K, K); row i are the targets of vector i.
        keys: shape (K, K); vector i visits the others by ascending ``keys[i]``.
        beta: weight of the newest cosine.

    Returns:
        C, shape (K, K), whose rows are the c, and t, shape (K, K). Vectors of length zero turn nothing, are not turned
        and leave t as it is.

    Example:
        >>> vaccinate(np.array([[1.0, -1.0], [-1.0, 4.0]]), np.zeros((2, 2)), np.zeros((2, 2)), 0.1)
        (array([[1.  , 0.25],
               [1.  , 1.  ]]), array([[ 0.  , -0.05],
               [-0.05,  0.  ]]))
    """
    keys = np.where(np.eye(len(G), dtype=np.bool_), np.inf, keys)
    visits = np.ascontiguousarray(keys.argsort(axis=1, kind="stable")[:, : len(G) - 1].T)
    return _turned(np.ascontiguousarray(G), target.copy(), visits, beta)


@compiled
def _turned(G: Array, target: Array, visits: NDArray[np.intp], beta: float) -> tuple[Array, Array]:
    n = G.shape[0]
    mix = np.eye(n)
    inner = G.copy()  # x_i . g_j
    squares = np.diag(G).copy()
    norms = np.sqrt(np.maximum(squares, 0.0))
    # the same memory as one row, for one entry of every row at a time
    flat_mix, flat_inner, flat_target = mix.reshape(-1), inner.reshape(-1), target.reshape(-1)
    for visit in range(n - 1):
        partner = visits[visit]
        place = np.arange(n) * n + partner
        own = (mix * inner).sum(1)  # ||x_i||^2
        size = np.abs(mix) @ norms
        counts = (own > _VANISHED * size * size) & (squares[partner] > 0)
        length = np.sqrt(np.where(counts, own, 1.0))
        across_norm = np.where(counts, norms[partner], 1.0)
        cosine = np.minimum(np.maximum(flat_inner[place] / (length * across_norm), -1.0), 1.0)
        goal = flat_target[place]
        held = np.minimum(np.maximum(goal, -_HIGHEST), _HIGHEST)
        across = np.sqrt(1.0 - held * held)
        step = length * (held * np.sqrt(1.0 - cosine * cosine) - cosine * across) / (across_norm * across)
        step = np.where(counts & (cosine < held), step, 0.0)
        flat_mix[place] = flat_mix[place] + step
        inner += step.reshape(-1, 1) * G[partner]
        flat_target[place] = np.where(counts, (1.0 - beta) * goal + beta * cosine, goal)
    return mix, target
