"""Sum of the Euclidean norms of the columns: whole tasks are selected.

    Omega(A) = alpha sum_t ||a_t||_2,    polar: max_t ||g_t||_2

Source:
    Chen, Zhou, Ye, "Integrating low-rank and group-sparse structures for robust multi-task learning", KDD 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.solvers.prox.groups import shrink_columns

__all__ = ["ColumnNorm"]


@dataclass(frozen=True)
class ColumnNorm(Penalty):
    """Group norm of the tasks.

    Args:
        alpha: strength, positive.

    Example:
        >>> ColumnNorm(0.5).value(np.array([[3.0], [4.0]]))
        2.5
    """

    alpha: float

    def value(self, A: Array) -> float:
        return self.alpha * float(np.linalg.norm(A, axis=0).sum())

    def prox(self, V: Array, step: float) -> Array:
        return shrink_columns(V, step * self.alpha)

    def gauge(self, G: Array) -> float:
        return float(np.linalg.norm(G, axis=0).max(initial=0.0)) / self.alpha

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)
