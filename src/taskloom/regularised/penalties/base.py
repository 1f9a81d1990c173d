"""What every penalty is asked: its value, its proximal operator, and its conjugate for the certificate.

With ``Omega`` the penalty and ``A`` of shape (d, T), column = task,

    prox(V, step) = argmin_A ||A - V||^2 / 2 + step Omega(A)
    conjugate(G)  = max_A <G, A> - Omega(A)

The conjugate of a norm is 0 on a ball, the polar ball of the norm, and infinite outside; :meth:`Penalty.gauge` says how
far G has to be shrunk to lie inside. Penalties with a conjugate that is finite everywhere have the gauge 0.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array

__all__ = ["Penalty", "RowSeparable"]


class Penalty(Protocol):
    """A convex function of the coefficients, not negative and 0 at 0."""

    def value(self, A: Array) -> float:
        """Omega(A).

        Args:
            A: shape (d, T).
        """
        ...

    def prox(self, V: Array, step: float) -> Array:
        """The proximal operator of ``step * Omega`` at V.

        Args:
            V: shape (d, T).
            step: not negative.
        """
        ...

    def gauge(self, G: Array) -> float:
        """The smallest s >= 0 with a finite conjugate at every ``G / s'``, ``s' > s``; infinite if there is none.

        Args:
            G: shape (d, T).
        """
        ...

    def conjugate(self, G: Array) -> float:
        """Omega*(G) where ``gauge(G) <= 1``.

        Args:
            G: shape (d, T).
        """
        ...

    def threshold(self, G: Array) -> float:
        """The smallest s >= 0 for which ``s * Omega`` has its proximal operator 0 at G; infinite if there is none.

        With G the gradients at A = 0 it says how strong the penalty has to be for the solution 0. For norms it is the
        gauge.

        Args:
            G: shape (d, T).
        """
        ...


@runtime_checkable
class RowSeparable(Penalty, Protocol):
    """A penalty that is a sum over the rows of A: solvers may work on some rows and leave the others at 0."""

    def rows(self, chosen: NDArray[np.intp]) -> RowSeparable:
        """The penalty of some rows.

        Args:
            chosen: positions of the rows, shape (m,).
        """
        ...

    def row_thresholds(self, G: Array) -> Array:
        """:meth:`threshold` of every row alone, shape (d,).

        Args:
            G: shape (d, T).
        """
        ...
