"""What a metric is, and what a gain is: the two definitions that the files of this package share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskloom.errors import DataError

__all__ = ["Metric", "relative_gain"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of one task. Subclass it, set :attr:`name` and :attr:`lower_is_better`, and write :meth:`__call__`.

    Metrics see what a user sees: predictions in the units of the target, or probabilities; labelled rows only.

    Example:
        >>> from typing import ClassVar
        >>> @dataclass(frozen=True, slots=True)
        ... class LargestError(Metric):
        ...     name: ClassVar[str] = "largest error"
        ...     def __call__(self, prediction, target):
        ...         return float(np.abs(prediction - target).max())
        >>> LargestError()(np.array([1.0, 4.0]), np.array([1.0, 2.0]))
        2.0
    """

    name: ClassVar[str] = "metric"
    lower_is_better: ClassVar[bool] = True

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """Score of the predictions.

        Args:
            prediction: values, shape (n,); probabilities of the second class, shape (n,); or class probabilities,
                shape (n, C).
            target: values or class codes, shape (n,); labelled rows only.

        Returns:
            the score; NaN where the metric is undefined for these rows.
        """
        raise NotImplementedError


def relative_gain(value: float, reference: float, *, lower_is_better: bool, denominator: float | None = None) -> float:
    """Improvement over a reference in percent of it; positive is better, whichever way the metric points.

        g = 100 (reference - value) / |denominator|     if lower is better, with the opposite sign otherwise

    Args:
        value: score to judge.
        reference: score to compare with.
        lower_is_better: direction of the metric.
        denominator: what to divide by; default the reference.

    Returns:
        gain in percent.

    Raises:
        DataError: the denominator is smaller than 1e-12, so that a relative gain has no meaning.

    Example:
        >>> relative_gain(0.36, 0.40, lower_is_better=True), relative_gain(0.36, 0.40, lower_is_better=False)
        (10.0000..., -10.0000...)
    """
    scale = abs(reference if denominator is None else denominator)
    if scale < 1e-12:
        raise DataError(
            f"a relative gain divides by {scale!r}; expected at least 1e-12. Use absolute differences instead."
        )
    if math.isnan(value) or math.isnan(reference):
        return math.nan
    return 100.0 * (reference - value if lower_is_better else value - reference) / scale
