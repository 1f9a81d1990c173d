"""R^2 of the labels that are there."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import r2_score

from taskloom.errors import DataError

__all__ = ["labelled_r2"]


def labelled_r2(true: Any, predicted: Any, *, sample_weight: Any = None) -> float:
    """R^2 over all rows together; for one column per task the mean of R^2 over the tasks, missing labels left out.

    Without missing labels this is what ``score`` of scikit-learn's regressors gives.

    Args:
        true: (n,), or (n, T) with NaN for missing labels.
        predicted: of the same shape.
        sample_weight: (n,).

    Raises:
        DataError: every label is missing.

    Example:
        >>> import numpy as np
        >>> true = np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0]])
        >>> labelled_r2(true, np.nan_to_num(true))
        1.0
    """
    labels = np.asarray(true)
    is_missing = np.isnan(labels) if labels.ndim == 2 and labels.dtype.kind == "f" else np.zeros(labels.shape, bool)
    if not is_missing.any():
        return float(r2_score(labels, predicted, sample_weight=sample_weight))
    if is_missing.all():
        raise DataError("every label of y is missing (NaN); expected at least one number")
    guesses = np.asarray(predicted)
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight)
    values = [
        r2_score(labels[there, task], guesses[there, task], sample_weight=weights[there])
        for task, there in enumerate(~is_missing.T)
        if there.any()
    ]
    return float(np.mean(values))
