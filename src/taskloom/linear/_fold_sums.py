"""Sums over all samples, from which those of a fold are subtracted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.moments import MomentRisk, Moments
from taskloom.task_column import TaskRows

__all__ = ["FoldSums"]

Array = NDArray[np.float64]

SAMPLES_PER_FEATURE = 2  # of every Gram matrix, from which on they pay
MOST_NUMBERS = 2**26  # in Gram matrices: 512 MiB


@dataclass(frozen=True)
class FoldSums:
    """Sums over all samples with their own weights, the features taken from their mean so that no digits are lost.

    Args:
        moments: the sums.
        centre: what was subtracted from all rows, shape (d,).
        fit_intercept: whether each task has an intercept; without, nothing is subtracted.
    """

    moments: Moments
    centre: Array
    fit_intercept: bool

    @classmethod
    def of(cls, rows: TaskRows, *, fit_intercept: bool) -> FoldSums | None:
        """The sums, or None where solving from the data costs less: sparse designs, or many features.

        Args:
            rows: all samples.
            fit_intercept: whether each task has an intercept.
        """
        groups = 1 if rows.is_shared else rows.n_tasks
        n_samples = sum(design.shape[0] for design in rows.designs[:groups])
        d = rows.n_features
        if any(issparse(design) for design in rows.designs) or groups * d * d > MOST_NUMBERS:
            return None
        if n_samples < SAMPLES_PER_FEATURE * d * groups:
            return None
        centre = np.zeros(d)
        if fit_intercept:
            centre = np.sum([design.sum(axis=0) for design in rows.designs[:groups]], axis=0) / n_samples
        return cls(Moments.of(_data(rows, centre)), centre, fit_intercept)

    def without(self, fold: TaskRows, factors: Array) -> MomentRisk:
        """The risk of all samples but those of a fold.

        Args:
            fold: the samples to leave out.
            factors: loss weights of the tasks, shape (T,).
        """
        return MomentRisk((self.moments - Moments.of(_data(fold, self.centre))).times(factors), self.fit_intercept)

    def shifted_back(self, solution: Solution) -> Solution:
        """A solution for features that are not taken from their mean.

        Args:
            solution: of :meth:`without`.
        """
        return replace(solution, intercepts=solution.intercepts - self.centre @ solution.coefficients)


def _data(rows: TaskRows, centre: Array) -> TaskData:
    if rows.is_shared:
        one = rows.designs[0] - centre
        designs = (one,) * rows.n_tasks
    else:
        designs = tuple(design - centre for design in rows.designs)
    return TaskData(designs, rows.targets, rows.sample_weights)
