"""Labels of all tasks with equal rows put together, and the parts of the likelihood that this leaves over.

Labels of one task at one point enter the likelihood through their weighted mean alone, up to terms that depend on the
noise only. With total weight s, mean m and sum of squares q around it,

    sum_j w_j log N(y_j | f, v) = log N(m | f, v / s) - (s - 1)/2 log(2 pi v) - log(s)/2 - q / (2 v)

so that repeated rows cost nothing and a weight of 2 is the same as a row that stands twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskloom.task_column import merge_replicates

__all__ = ["Array", "Grid", "NoiseTerms", "Points", "as_grid", "as_points"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseTerms:
    """What the replicates of each task say about its noise; two vectors (T,) and a constant."""

    extra: Array  # total weight minus the number of distinct points
    squares: Array  # weighted squares around the mean of each point
    constant: float

    def value(self, noise: Array) -> float:
        """Their part of the log likelihood."""
        logs = self.extra * np.log(2 * np.pi * noise)
        return float(self.constant - 0.5 * (logs + self.squares / noise).sum())

    def slope(self, noise: Array) -> Array:
        """Derivative of the value in the logarithm of each noise, (T,)."""
        return 0.5 * (self.squares / noise - self.extra)


@dataclass(frozen=True)
class Points:
    """N distinct points (row, task): the general form.

    Args:
        inputs: (N, d).
        tasks: (N,) position of the task, ascending.
        targets: (N,) weighted mean of the labels at the point.
        weights: (N,) total weight of the labels at the point.
        terms: what is left over.
    """

    inputs: Array
    tasks: NDArray[np.intp]
    targets: Array
    weights: Array
    terms: NoiseTerms


@dataclass(frozen=True)
class Grid:
    """n distinct rows, each labelled for all T tasks, with weights that do not depend on the task.

    Args:
        inputs: (n, d).
        targets: (n, T).
        weights: (n,).
        terms: what is left over.
    """

    inputs: Array
    targets: Array
    weights: Array
    terms: NoiseTerms


def as_points(designs: tuple[Array, ...], targets: tuple[Array, ...], weights: tuple[Array, ...]) -> Points:
    """Distinct points of every task.

    Args:
        designs: T arrays (n_t, d).
        targets: T arrays (n_t,).
        weights: T arrays (n_t,), positive.
    """
    merged = [merge_replicates(X, y, weights=s) for X, y, s in zip(designs, targets, weights)]
    squares = [float((s * (y - one.targets[one.place]) ** 2).sum()) for one, y, s in zip(merged, targets, weights)]
    return Points(
        inputs=np.concatenate([one.rows for one in merged]),
        tasks=np.repeat(np.arange(len(merged)), [len(one.rows) for one in merged]),
        targets=np.concatenate([one.targets for one in merged]),
        weights=np.concatenate([one.weights for one in merged]),
        terms=_terms(np.array(squares), [one.weights for one in merged]),
    )


def as_grid(design: Array, targets: Array, weights: Array) -> Grid | None:
    """Distinct rows, or None if the weights depend on the task.

    Args:
        design: (n, d).
        targets: (n, T), all observed.
        weights: (n, T), positive.
    """
    if not (weights == weights[:, :1]).all():
        return None
    merged = merge_replicates(design, targets, weights=weights)
    squares = (weights * (targets - merged.targets[merged.place]) ** 2).sum(axis=0)
    return Grid(merged.rows, merged.targets, merged.weights[:, 0], _terms(squares, list(merged.weights.T)))


def _terms(squares: Array, totals: list[Array]) -> NoiseTerms:
    extra = np.array([total.sum() - len(total) for total in totals])
    return NoiseTerms(extra, squares, -0.5 * float(sum(np.log(total).sum() for total in totals)))
