"""Estimators whose coefficients are the sum of two parts, each with a penalty of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from taskloom.linear.base import TaskLinearModel
from taskloom.regularised.data import Solution
from taskloom.task_column import TaskRows

__all__ = ["TwoPartModel", "parts_of"]

Array = NDArray[np.float64]


class TwoPartModel(TaskLinearModel):
    """A linear estimator with ``A = P + Q``. A strength of 0 for one part frees the sum: then there is one part."""

    def _start(self, rows: TaskRows) -> Solution | None:
        last = super()._start(rows)
        return last if last is not None and len(last.parts) == 2 else None


def parts_of(solution: Solution) -> tuple[Array, Array]:
    """Both parts as the estimators keep them, (T, d); without any penalty the first has everything.

    Args:
        solution: of one part or two.
    """
    first, *others = (np.ascontiguousarray(part.T) for part in solution.parts)
    return first, others[0] if others else np.zeros_like(first)
