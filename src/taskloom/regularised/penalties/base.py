"""What every penalty is asked: its value, its proximal operator, and its conjugate for the certificate.

With ``Omega`` the penalty and ``A`` of shape (d, T), column = task,

    prox(V, step) = argmin_A ||A - V||^2 / 2 + step Omega(A)
    conjugate(G)  = max_A <G, A> - Omega(A)

The conjugate of a norm is 0 on a ball, the polar ball of the norm, and infinite outside; :meth:`Penalty.gauge` says how
far G has to be shrunk to lie inside. Penalties with a conjugate that is finite everywhere have the gauge 0.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from taskloom.regularised.data import Array

__all__ = ["Penalty"]


@runtime_checkable
class Penalty(Protocol):
    """A convex function of the coefficients with value 0 at 0.

    Example:
        >>> from taskloom.regularised import EntryNorm
        >>> isinstance(EntryNorm(0.1), Penalty)
        True
    """

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
