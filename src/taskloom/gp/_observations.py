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
    inputs, means, totals, left = zip(
        *(_distinct(X, y[:, None], s[:, None]) for X, y, s in zip(designs, targets, weights)), strict=True
    )
    sizes = [len(rows) for rows in inputs]
    totals_by_point = np.concatenate(totals)[:, 0]
    terms = _terms(np.concatenate(left), [total[:, 0] for total in totals])
    return Points(
        inputs=np.concatenate(inputs),
        tasks=np.repeat(np.arange(len(sizes)), sizes),
        targets=np.concatenate(means)[:, 0],
        weights=totals_by_point,
        terms=terms,
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
    inputs, means, totals, left = _distinct(design, targets, weights)
    return Grid(inputs, means, totals[:, 0], _terms(left, list(totals.T)))


def _distinct(design: Array, targets: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
    """Distinct rows, weighted means (n, m) and total weights (n, m) there, and squares around the means (m,)."""
    if not len(design):
        empty = np.zeros((0, targets.shape[1]))
        return design, empty, empty, np.zeros(targets.shape[1])
    inputs, place = np.unique(design, axis=0, return_inverse=True)
    place = place.reshape(-1)
    totals, sums = (np.zeros((len(inputs), targets.shape[1])) for _ in range(2))
    np.add.at(totals, place, weights)
    np.add.at(sums, place, weights * targets)
    means = sums / totals
    return inputs, means, totals, (weights * (targets - means[place]) ** 2).sum(axis=0)


def _terms(squares: Array, totals: list[Array]) -> NoiseTerms:
    extra = np.array([total.sum() - len(total) for total in totals])
    return NoiseTerms(extra, squares, -0.5 * float(sum(np.log(total).sum() for total in totals)))
