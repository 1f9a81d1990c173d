"""Absolute coefficients and norms of the rows together: features are selected, and tasks within them.

    Omega(A) = alpha_entries sum_jt |a_jt| + alpha_rows sum_j ||a^j||_2

A row g is in s times the polar ball when shrinking its entries by ``s alpha_entries`` leaves a length of at most
``s alpha_rows``. That length minus ``s alpha_rows`` is convex and decreasing in s, so Newton's method from s = 0 climbs
to the root.

Source:
    Friedman, Hastie, Tibshirani, "A note on the group lasso and a sparse group lasso", 2010, arXiv 1001.0736.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import RowSeparable
from taskloom.solvers.prox.groups import sparse_shrink_rows

__all__ = ["SparseGroup"]

_MOST_STEPS = 100


@dataclass(frozen=True)
class SparseGroup(RowSeparable):
    """Elementwise l1 norm plus l1/l2 norm of the rows.

    Args:
        alpha_entries: strength of the absolute values, not negative.
        alpha_rows: strength of the row norms, not negative; one of the two is positive.

    Example:
        >>> SparseGroup(1.0, 2.0).value(np.array([[3.0, 4.0]]))
        17.0
    """

    alpha_entries: float
    alpha_rows: float

    def value(self, A: Array) -> float:
        lengths = np.sqrt(np.einsum("dt,dt->d", A, A))
        return self.alpha_entries * float(np.abs(A).sum()) + self.alpha_rows * float(lengths.sum())

    def prox(self, V: Array, step: float) -> Array:
        return sparse_shrink_rows(V, step * self.alpha_rows, tau_entries=step * self.alpha_entries)

    def gauge(self, G: Array) -> float:
        return float(self.row_thresholds(G).max(initial=0.0))

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)

    def rows(self, chosen: NDArray[np.intp]) -> SparseGroup:
        return self

    def row_thresholds(self, G: Array) -> Array:
        sizes = np.abs(G)
        s = np.zeros(len(G))
        if self.alpha_rows == 0:
            largest: Array = sizes.max(axis=1, initial=0.0) / self.alpha_entries
            return largest
        for _ in range(_MOST_STEPS):
            rest = np.maximum(sizes - self.alpha_entries * s[:, None], 0.0)
            length = np.sqrt(np.einsum("dt,dt->d", rest, rest))
            slope = self.alpha_rows + self.alpha_entries * np.divide(
                rest.sum(1), length, out=np.zeros_like(s), where=length > 0
            )
            step = np.maximum(length - self.alpha_rows * s, 0.0) / slope
            s += step
            if np.all(step <= 1e-15 * s):
                break
        return s
