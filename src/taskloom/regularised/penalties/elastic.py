"""A penalty with a ridge added.

    Omega(A) + (l2 / 2) ||A||_F^2
    prox(V, step) = prox of Omega at V / (1 + step l2) with the step step / (1 + step l2)
    conjugate(G)  = <G, P> - Omega(P) - (l2 / 2) ||P||^2,   P = prox of Omega / l2 at G / l2

Source:
    Zou, Hastie, "Regularization and variable selection via the elastic net", JRSS B 2005.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty, RowSeparable

__all__ = ["Elastic", "ElasticRows", "with_ridge"]


@dataclass(frozen=True)
class Elastic(Penalty):
    """A penalty plus half the squared coefficients.

    Args:
        penalty: what the ridge is added to.
        l2: strength of the ridge, positive.

    Example:
        >>> from taskloom.regularised import EntryNorm
        >>> Elastic(EntryNorm(1.0), 2.0).value(np.array([[1.0, -1.0]]))
        4.0
    """

    penalty: Penalty
    l2: float

    def value(self, A: Array) -> float:
        return self.penalty.value(A) + self.l2 / 2 * float(np.vdot(A, A))

    def prox(self, V: Array, step: float) -> Array:
        shrinkage = 1 + step * self.l2
        return self.penalty.prox(V / shrinkage, step / shrinkage)

    def gauge(self, G: Array) -> float:
        return 0.0

    def conjugate(self, G: Array) -> float:
        P = self.penalty.prox(G / self.l2, 1 / self.l2)
        return float(np.vdot(G, P)) - self.value(P)

    def threshold(self, G: Array) -> float:
        return self.penalty.threshold(G)


@dataclass(frozen=True)
class ElasticRows(Elastic):
    """The same for a penalty that is a sum over rows.

    Example:
        >>> from taskloom.regularised import RowNorm
        >>> ElasticRows(RowNorm(1.0), 2.0).row_thresholds(np.array([[3.0, 4.0]]))
        array([5.])
    """

    penalty: RowSeparable

    def rows(self, chosen: NDArray[np.intp]) -> ElasticRows:
        return ElasticRows(self.penalty.rows(chosen), self.l2)

    def row_thresholds(self, G: Array) -> Array:
        return self.penalty.row_thresholds(G)


def with_ridge(penalty: Penalty, l2: float) -> Penalty:
    """Add a ridge to a penalty; the penalty itself for l2 = 0.

    Args:
        penalty: any penalty.
        l2: strength of the ridge, not negative.

    Returns:
        the sum of both.

    Example:
        >>> from taskloom.regularised import EntryNorm
        >>> with_ridge(EntryNorm(1.0), 0.0)
        EntryNorm(alpha=1.0)
    """
    if l2 == 0:
        return penalty
    return ElasticRows(penalty, l2) if isinstance(penalty, RowSeparable) else Elastic(penalty, l2)
