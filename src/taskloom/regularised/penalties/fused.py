"""Coefficients of neighbouring tasks drawn together: sparse, fused along the tasks, and selected by rows.

    Omega(A) = alpha_entries sum_jt |a_jt| + alpha_fused sum_jt |a_j,t+1 - a_jt| + alpha_rows sum_j ||a^j||_2

Tasks are ordered. With the first and the last strength 0 rows of equal entries cost nothing: then no finite scaling of
a dual point is feasible, and no gap can be given.

Source:
    Zhou, Liu, Narayan, Ye, "Modeling disease progression via fused sparse group lasso", KDD 2012.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import RowSeparable
from taskloom.solvers.prox.groups import sparse_shrink_rows
from taskloom.solvers.prox.variation import smooth_rows

__all__ = ["FusedRows"]

_BISECTIONS = 52


@dataclass(frozen=True)
class FusedRows(RowSeparable):
    """Sparse group penalty with a total variation along the tasks.

    Args:
        alpha_entries: strength of the absolute values, not negative.
        alpha_fused: strength of the differences between neighbouring tasks, not negative.
        alpha_rows: strength of the row norms, not negative.

    Example:
        >>> FusedRows(1.0, 10.0, 0.0).value(np.array([[1.0, 1.0, 2.0]]))
        14.0
    """

    alpha_entries: float
    alpha_fused: float
    alpha_rows: float

    def value(self, A: Array) -> float:
        lengths = np.sqrt(np.einsum("dt,dt->d", A, A))
        variation = float(np.abs(np.diff(A, axis=1)).sum())
        entries = self.alpha_entries * float(np.abs(A).sum())
        return entries + self.alpha_fused * variation + self.alpha_rows * float(lengths.sum())

    def prox(self, V: Array, step: float) -> Array:
        smooth = smooth_rows(V, step * self.alpha_fused)
        return sparse_shrink_rows(smooth, step * self.alpha_rows, tau_entries=step * self.alpha_entries)

    def gauge(self, G: Array) -> float:
        return float(self.row_thresholds(G).max(initial=0.0))

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)

    def rows(self, chosen: NDArray[np.intp]) -> FusedRows:
        return self

    def row_thresholds(self, G: Array) -> Array:
        """By bisection: a row is in s times the polar ball when its proximal operator with step s is 0."""
        thresholds = self._bound(G)
        open_rows = np.flatnonzero((thresholds > 0) & np.isfinite(thresholds))
        low, high, rows = np.zeros(len(open_rows)), thresholds[open_rows], G[open_rows]
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            is_inside = ~self.prox(rows / middle[:, None], 1.0).any(axis=1)  # homogeneous: s (G / s)
            low, high = np.where(is_inside, low, middle), np.where(is_inside, middle, high)
        thresholds[open_rows] = high
        return thresholds

    def _bound(self, G: Array) -> Array:
        """Thresholds without the differences, which only lower them. Shape (d,)."""
        bounds = np.full(len(G), np.inf)
        if self.alpha_entries > 0:
            bounds = np.minimum(bounds, np.abs(G).max(axis=1, initial=0.0) / self.alpha_entries)
        if self.alpha_rows > 0:
            bounds = np.minimum(bounds, np.sqrt(np.einsum("dt,dt->d", G, G)) / self.alpha_rows)
        return np.where(G.any(axis=1), bounds, 0.0)
