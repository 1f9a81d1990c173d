"""Sum of the norms of the rows: features are selected for all tasks together.

    Omega(A) = alpha sum_j w_j ||a^j||_{q_j},    polar: max_j ||g^j||_{q_j / (q_j - 1)} / w_j

Source:
    q = 2: Obozinski, Taskar, Jordan, "Joint covariate selection and joint subspace selection for multiple
    classification problems", Stat. Comput. 2010; q = inf: Turlach, Venables, Wright, "Simultaneous variable selection",
    Technometrics 2005; any q: Liu, Ye, "Efficient l1/lq norm regularization", 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import RowSeparable
from taskloom.solvers.prox.powers import power_norms
from taskloom.solvers.prox.rows import shrink_rows_norm

__all__ = ["RowNorm"]


@dataclass(frozen=True)
class RowNorm(RowSeparable):
    """Norm l1/lq of the rows.

    Args:
        alpha: strength, positive.
        q: norm of the rows, from 1 to infinity; a number, or one for each feature, shape (d,).
        weights: of the features, not negative, shape (d,); 0 for features that are not penalised. None: all 1.

    Example:
        >>> RowNorm(0.5).value(np.array([[3.0, 4.0]]))
        2.5
        >>> RowNorm(0.5, q=np.inf).value(np.array([[3.0, 4.0]]))
        2.0
    """

    alpha: float
    q: float | Array = 2.0
    weights: Array | None = None

    @property
    def strengths(self) -> float | Array:
        """``alpha w_j``."""
        return self.alpha if self.weights is None else self.alpha * self.weights

    def value(self, A: Array) -> float:
        return float((self.strengths * power_norms(A, self.q)).sum())

    def prox(self, V: Array, step: float) -> Array:
        return shrink_rows_norm(V, step * self.strengths, q=self.q)

    def gauge(self, G: Array) -> float:
        return float(self.row_thresholds(G).max(initial=0.0))

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)

    def rows(self, chosen: NDArray[np.intp]) -> RowNorm:
        q = self.q if np.ndim(self.q) == 0 else np.asarray(self.q)[chosen]
        return RowNorm(self.alpha, q, None if self.weights is None else self.weights[chosen])

    def row_thresholds(self, G: Array) -> Array:
        if self.weights is None and np.ndim(self.q) == 0:
            q = float(self.q)
            plain: Array = power_norms(G, 1.0 if np.isinf(q) else np.inf if q == 1 else q / (q - 1)) / self.alpha
            return plain
        with np.errstate(divide="ignore", invalid="ignore"):
            powers = np.asarray(self.q, dtype=np.float64)
            dual = np.where(np.isinf(powers), 1.0, powers / (powers - 1))  # q = 1 gives infinity
            norms = power_norms(G, float(dual) if dual.ndim == 0 else dual)
            thresholds = norms / self.strengths
        return np.where(norms > 0, thresholds, 0.0)
