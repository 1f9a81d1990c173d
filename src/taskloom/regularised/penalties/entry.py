"""Sum of the absolute coefficients: the lasso of every task.

    Omega(A) = alpha sum_jt |a_jt|,    polar: max_jt |g_jt|

Source:
    Tibshirani, "Regression shrinkage and selection via the lasso", JRSS B 1996.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import RowSeparable
from taskloom.solvers.prox.soft import soft_threshold

__all__ = ["EntryNorm"]


@dataclass(frozen=True)
class EntryNorm(RowSeparable):
    """Elementwise l1 norm.

    Args:
        alpha: strength, positive.

    Example:
        >>> EntryNorm(0.5).value(np.array([[1.0, -2.0]]))
        1.5
    """

    alpha: float

    def value(self, A: Array) -> float:
        return self.alpha * float(np.abs(A).sum())

    def prox(self, V: Array, step: float) -> Array:
        return soft_threshold(V, step * self.alpha)

    def gauge(self, G: Array) -> float:
        return float(np.abs(G).max(initial=0.0)) / self.alpha

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)

    def rows(self, chosen: NDArray[np.intp]) -> EntryNorm:
        return self

    def row_thresholds(self, G: Array) -> Array:
        largest: Array = np.abs(G).max(axis=1, initial=0.0) / self.alpha
        return largest
