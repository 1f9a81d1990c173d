"""Rows that stand several times in a table, put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Replicates", "merge_replicates"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Replicates:
    """The distinct rows of a table, with the weighted means of their targets.

    Args:
        rows: (g, d), distinct, sorted.
        place: (n,) which of them each row of the table is.
        targets: (g,) or (g, m) weighted means.
        weights: sums of the weights, shaped as the targets.

    Example:
        >>> merge_replicates(np.array([[1.0], [1.0]]), np.array([2.0, 4.0]), weights=np.array([1.0, 3.0])).targets
        array([3.5])
    """

    rows: Array
    place: NDArray[np.intp]
    targets: Array
    weights: Array


def merge_replicates(design: Array, targets: Array, *, weights: Array) -> Replicates:
    """Put equal rows together.

    A weighted sum of squares over all rows is that over the distinct rows, with summed weights and mean targets, plus a
    constant: what is fitted by squares needs the distinct rows only.

    Args:
        design: (n, d).
        targets: (n,) or (n, m).
        weights: positive, shaped as the targets.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]]), np.array([1.0, 5.0, 3.0])
        >>> merged = merge_replicates(X, y, weights=np.ones(3))
        >>> merged.rows.tolist(), merged.targets, merged.weights, merged.place
        ([[0.0, 1.0], [2.0, 3.0]], array([2., 5.]), array([2., 1.]), array([0, 1, 0]))
    """
    rows, place = np.unique(design, axis=0, return_inverse=True) if len(design) else (design, np.zeros(0, np.intp))
    place = place.reshape(-1)
    totals, sums = (np.zeros((len(rows), *targets.shape[1:])) for _ in range(2))
    np.add.at(totals, place, weights)
    np.add.at(sums, place, weights * targets)
    # a row that stands once keeps its target to the last bit
    means = np.divide(sums, totals)
    single = np.flatnonzero(np.bincount(place, minlength=len(rows))[place] == 1)
    means[place[single]] = targets[single]
    return Replicates(rows, place, means, totals)
