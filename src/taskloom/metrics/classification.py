"""Metrics of classification: log loss, accuracy, area under the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from taskloom.metrics.base import Metric

__all__ = ["Accuracy", "AreaUnderCurve", "LogLoss"]


@dataclass(frozen=True, slots=True)
class LogLoss(Metric):
    """Mean negative log probability of the true class, in nats; lower is better.

    A proper scoring rule: no forecast does better on average than the true probabilities. It is the main metric of
    classes because it also moves where the accuracy stands still.

        L = - mean_i log p_i(y_i)

    Probabilities are kept 2.2e-16 away from 0 (the resolution of float64), so that one confident mistake costs
    36 nats and not infinity; scikit-learn's ``log_loss`` does the same.

    Example:
        >>> LogLoss()(np.array([0.5, 0.5]), np.array([0, 1]))
        0.693...
        >>> LogLoss()(np.array([[0.2, 0.3, 0.5]]), np.array([2]))
        0.693...
    """

    name: ClassVar[str] = "log loss"
    lower_is_better: ClassVar[bool] = True

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """Log loss; NaN without rows."""
        codes = _codes(target)
        if len(codes) == 0:
            return float("nan")
        # torchmetrics has no log loss of probabilities; this is the definition.
        table = _table(prediction, len(codes))
        true_class = table[np.arange(len(codes)), codes]
        return float(-np.log(np.clip(true_class, np.finfo(np.float64).eps, None)).mean()) + 0.0


@dataclass(frozen=True, slots=True)
class Accuracy(Metric):
    """Share of rows whose most probable class is the true one; higher is better.

    With two classes the second is predicted at a probability of 0.5 or more; with more, ties go to the first.

    Example:
        >>> Accuracy()(np.array([0.9, 0.6, 0.2, 0.1]), np.array([1, 0, 0, 0]))
        0.75
    """

    name: ClassVar[str] = "accuracy"
    lower_is_better: ClassVar[bool] = False

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """Accuracy; NaN without rows."""
        codes = _codes(target)
        if len(codes) == 0:
            return float("nan")
        table = _table(prediction, len(codes))
        # torchmetrics counts shares in float32 (0.75 becomes 0.75000001); a mean of True and False is exact.
        chosen = table[:, 1] >= 0.5 if table.shape[1] == 2 else table.argmax(axis=1)
        return float((chosen == codes).mean())


@dataclass(frozen=True, slots=True)
class AreaUnderCurve(Metric):
    """Area under the ROC curve: chance that a row of the second class scores above one of the first; higher is better.

    0.5 is guessing. Two classes only.

    Example:
        >>> AreaUnderCurve()(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.75
    """

    name: ClassVar[str] = "AUROC"
    lower_is_better: ClassVar[bool] = False

    def __call__(self, prediction: np.ndarray, target: np.ndarray) -> float:
        """AUROC; NaN unless both classes occur."""
        import torch
        from torchmetrics.functional.classification import binary_auroc

        codes = _codes(target)
        if len(np.unique(codes)) < 2:
            return float("nan")
        # Ranks are what counts; as dense ranks no two different probabilities can be rounded to one.
        scores = np.asarray(prediction, dtype=np.float64).reshape(len(codes))
        _, ranks = np.unique(scores, return_inverse=True)
        unit = torch.from_numpy(ranks.reshape(-1) / max(1, int(ranks.max())))
        return float(binary_auroc(unit, torch.from_numpy(codes), validate_args=False))


def _codes(target: np.ndarray) -> np.ndarray:
    """Class codes as int64, also when they came as floating numbers."""
    return np.array(target).reshape(-1).astype(np.int64)


def _table(prediction: np.ndarray, n_rows: int) -> np.ndarray:
    """Class probabilities, shape (n, C); a vector of probabilities of the second class becomes two columns."""
    scores = np.asarray(prediction, dtype=np.float64).reshape(n_rows, -1)
    return np.concatenate([1.0 - scores, scores], axis=1) if scores.shape[1] == 1 else scores
