"""Norms of groups of rows: features that belong together are selected together, for all tasks.

    Omega(A) = alpha sum_g w_g ||A_g||_{q_g},    polar: max_g ||G_g||_{q_g / (q_g - 1)} / w_g

with ``||.||_q`` over all entries of the rows of a group.

Source:
    Yuan, Lin, "Model selection and estimation in regression with grouped variables", JRSS B 2006.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised.data import Array
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.row_norm import RowNorm

__all__ = ["RowGroups"]

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class RowGroups(Penalty):
    """Norm of groups of rows.

    Args:
        alpha: strength, positive.
        groups: number of the group of each feature, 0, 1, ..., shape (d,).
        q: norm of the groups, from 1 to infinity; a number, or one for each group.
        weights: of the groups, positive, one for each; None: all 1.

    Example:
        >>> RowGroups(0.5, np.array([0, 0, 1])).value(np.array([[3.0], [4.0], [1.0]]))
        3.0
    """

    alpha: float
    groups: Rows
    q: float | Array = 2.0
    weights: Array | None = None

    @cached_property
    def _blocks(self) -> tuple[tuple[Rows, RowNorm], ...]:
        """Groups of the same size together: their rows, shape (groups, size), and the norm of such rows in one."""
        sizes = np.bincount(self.groups)
        order = np.split(np.argsort(self.groups, kind="stable"), np.cumsum(sizes)[:-1])
        blocks = []
        for size in np.unique(sizes):
            chosen = np.flatnonzero(sizes == size)
            norm = RowNorm(
                self.alpha,
                self.q if np.ndim(self.q) == 0 else np.asarray(self.q)[chosen],
                None if self.weights is None else self.weights[chosen],
            )
            blocks.append((np.stack([order[group] for group in chosen]), norm))
        return tuple(blocks)

    def _parts(self, A: Array) -> Iterator[tuple[Rows, RowNorm, Array]]:
        for rows, norm in self._blocks:
            yield rows, norm, A[rows].reshape(len(rows), -1)

    def value(self, A: Array) -> float:
        return sum(norm.value(block) for _, norm, block in self._parts(A))

    def prox(self, V: Array, step: float) -> Array:
        result = np.empty_like(V)
        for rows, norm, block in self._parts(V):
            result[rows] = norm.prox(block, step).reshape(*rows.shape, -1)
        return result

    def gauge(self, G: Array) -> float:
        return max(norm.gauge(block) for _, norm, block in self._parts(G))

    def conjugate(self, G: Array) -> float:
        return 0.0

    def threshold(self, G: Array) -> float:
        return self.gauge(G)
