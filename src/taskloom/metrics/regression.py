"""Metrics of regression: root mean squared error, share of variance explained, mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskloom.metrics.base import Metric

__all__ = ["MeanAbsoluteError", "RSquared", "RootMeanSquaredError"]


@dataclass(frozen=True, slots=True)
class RootMeanSquaredError(Metric):
    """Root of the mean squared error, in units of the target; lower is better.

        RMSE = sqrt(mean_i (p_i - y_i)^2)

    Example:
        >>> RootMeanSquaredError()(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        1.414...
    """

    name: ClassVar[str] = "RMSE"
    lower_is_better: ClassVar[bool] = True

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """RMSE; NaN without rows."""
        import torch
        from torchmetrics.functional.regression import mean_squared_error

        if len(target) == 0:
            return float("nan")
        values, truth = _columns(prediction, target)
        return float(mean_squared_error(torch.from_numpy(values), torch.from_numpy(truth), squared=False))


@dataclass(frozen=True, slots=True)
class MeanAbsoluteError(Metric):
    """Mean absolute error, in units of the target; lower is better.

        MAE = mean_i |p_i - y_i|

    Example:
        >>> MeanAbsoluteError()(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        1.0
    """

    name: ClassVar[str] = "MAE"
    lower_is_better: ClassVar[bool] = True

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """MAE; NaN without rows."""
        import torch
        from torchmetrics.functional.regression import mean_absolute_error

        if len(target) == 0:
            return float("nan")
        values, truth = _columns(prediction, target)
        return float(mean_absolute_error(torch.from_numpy(values), torch.from_numpy(truth)))


@dataclass(frozen=True, slots=True)
class RSquared(Metric):
    """Share of the variance of the target that is explained (coefficient of determination); higher is better.

    1 is perfect, 0 is as good as the mean of the rows scored, below 0 is worse than that.

        R2 = 1 - sum_i (y_i - p_i)^2 / sum_i (y_i - mean y)^2

    Example:
        >>> RSquared()(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 4.0]))
        0.785...
    """

    name: ClassVar[str] = "R2"
    lower_is_better: ClassVar[bool] = False

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """R2; NaN with fewer than two rows or with a constant target, where it is undefined."""
        import torch
        from torchmetrics.functional.regression import r2_score

        values, truth = _columns(prediction, target)
        if len(truth) < 2 or np.ptp(truth) == 0.0:
            return float("nan")
        # torchmetrics rounds sums of squares below 1e-4 to zero. R2 does not depend on centre and unit of the target,
        # so it is given targets of spread 1e4, where that rounding is below 1e-12 of the sum.
        centre, unit = float(truth.mean()), float(np.ptp(truth)) * 1e-4
        return float(r2_score(torch.from_numpy((values - centre) / unit), torch.from_numpy((truth - centre) / unit)))


def _columns(prediction: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets as contiguous float64 vectors."""
    return (
        np.array(prediction, dtype=np.float64).reshape(len(target)),
        np.array(target, dtype=np.float64).reshape(len(target)),
    )
