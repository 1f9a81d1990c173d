"""Coefficients that are a sum of parts, each with a penalty of its own.

    Omega(A) = min { sum_k Omega_k(P_k) : sum_k P_k = A },    Omega*(G) = sum_k Omega_k*(G)

Source:
    Jalali, Ravikumar, Sanghavi, Ruan, "A dirty model for multi-task learning", NIPS 2010, and the methods after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty

__all__ = ["PartSum", "parts_of"]


@dataclass(frozen=True)
class PartSum:
    """A penalty for each part.

    Args:
        penalties: one for each part.

    Example:
        >>> from taskloom.regularised import EntryNorm, RowNorm
        >>> dirty = PartSum((RowNorm(1.0, q=float("inf")), EntryNorm(0.5)))
        >>> import numpy as np
        >>> dirty.value_of((np.array([[1.0, -1.0]]), np.array([[0.0, 2.0]])))
        2.0
    """

    penalties: tuple[Penalty, ...]

    def value_of(self, parts: Sequence[Array]) -> float:
        """Sum of the penalties of the parts.

        Args:
            parts: shapes (d, T).
        """
        return sum(penalty.value(part) for penalty, part in zip(self.penalties, parts, strict=True))

    def gauge(self, G: Array) -> float:
        """The largest gauge: all conjugates have to be finite.

        Args:
            G: shape (d, T).
        """
        return max(penalty.gauge(G) for penalty in self.penalties)

    def conjugate(self, G: Array) -> float:
        """Sum of the conjugates.

        Args:
            G: shape (d, T).
        """
        return sum(penalty.conjugate(G) for penalty in self.penalties)

    def threshold(self, G: Array) -> float:
        """The largest threshold: every part has to be 0.

        Args:
            G: shape (d, T).
        """
        return max(penalty.threshold(G) for penalty in self.penalties)


def parts_of(penalty: Penalty | PartSum) -> tuple[Penalty, ...]:
    """The penalties of the parts; one part for a penalty of the coefficients themselves.

    Args:
        penalty: a penalty or a sum over parts.

    Returns:
        at least one.

    Example:
        >>> from taskloom.regularised import EntryNorm
        >>> len(parts_of(EntryNorm(1.0)))
        1
    """
    return penalty.penalties if isinstance(penalty, PartSum) else (penalty,)
