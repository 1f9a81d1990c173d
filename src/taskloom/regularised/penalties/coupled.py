"""A penalty beside a quadratic coupling of the tasks, on the same coefficients.

    Omega(A) + tr(A Q A') / 2

The sum has no proximal operator in closed form: solvers count the coupling to the smooth part of the objective, and the
certificate counts it as data with targets 0, whose residuals are ``-A Q``.

Source:
    Zhou, Yuan, Liu, Ye, "A multi-task learning formulation for predicting disease progression", KDD 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty, RowSeparable
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["Coupled", "CoupledRows", "with_coupling"]


@dataclass(frozen=True)
class Coupled:
    """A penalty plus a quadratic coupling.

    Args:
        penalty: what the coupling is added to.
        coupling: the quadratic form; it may be semidefinite.

    Example:
        >>> from taskloom.regularised import RowNorm, TaskCoupling
        >>> Coupled(RowNorm(1.0), TaskCoupling.of_matrix(2 * np.eye(2))).value(np.array([[3.0, 4.0]]))
        30.0
    """

    penalty: Penalty
    coupling: TaskCoupling

    def value(self, A: Array) -> float:
        """The penalty and the coupling.

        Args:
            A: shape (d, T).
        """
        return self.penalty.value(A) + self.coupling.value(A)

    def threshold(self, G: Array) -> float:
        """As for the penalty alone: the coupling is flat at 0.

        Args:
            G: shape (d, T).
        """
        return self.penalty.threshold(G)


@dataclass(frozen=True)
class CoupledRows(Coupled):
    """The same for a penalty that is a sum over rows.

    Example:
        >>> from taskloom.regularised import RowNorm, TaskCoupling
        >>> coupled = CoupledRows(RowNorm(1.0), TaskCoupling.of_matrix(2 * np.eye(2)))
        >>> coupled.row_thresholds(np.array([[3.0, 4.0]]))
        array([5.])
    """

    penalty: RowSeparable

    def rows(self, chosen: NDArray[np.intp]) -> CoupledRows:
        """The penalty of some rows.

        Args:
            chosen: positions of the rows, shape (m,).
        """
        return CoupledRows(self.penalty.rows(chosen), self.coupling)

    def row_thresholds(self, G: Array) -> Array:
        """Thresholds of the rows alone.

        Args:
            G: shape (d, T).
        """
        return self.penalty.row_thresholds(G)


def with_coupling(penalty: Penalty, coupling: TaskCoupling) -> Coupled:
    """Add a quadratic coupling to a penalty.

    Args:
        penalty: any penalty without a ridge of its own.
        coupling: the quadratic form.

    Returns:
        the sum of both.

    Example:
        >>> from taskloom.regularised import RowNorm, TaskCoupling
        >>> type(with_coupling(RowNorm(1.0), TaskCoupling.of_matrix(np.eye(2)))).__name__
        'CoupledRows'
    """
    return CoupledRows(penalty, coupling) if isinstance(penalty, RowSeparable) else Coupled(penalty, coupling)
