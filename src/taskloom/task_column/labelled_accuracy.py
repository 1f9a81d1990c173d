"""Share of rows whose labels are right in all tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score

from taskloom.errors import DataError

__all__ = ["labelled_accuracy"]


def labelled_accuracy(true: Any, predicted: Any, *, sample_weight: Any = None) -> float:
    """Share of rows whose label is right; for one column per task, of rows that are right in all tasks.

    This is what ``score`` of scikit-learn's classifiers gives.

    Args:
        true: (n,), or (n, T).
        predicted: of the same shape.
        sample_weight: (n,).

    Raises:
        DataError: missing labels: no row is known to be right in all tasks then.

    Example:
        >>> import numpy as np
        >>> labelled_accuracy(np.array([[0, 1], [1, 1]]), np.array([[0, 1], [0, 1]]))
        0.5
    """
    labels = np.asarray(true)
    if labels.ndim == 2 and labels.dtype.kind == "f" and np.isnan(labels).any():
        raise DataError(
            "y has missing labels, and no row is right in all tasks then; use task_scores, which leaves them out"
        )
    return float(accuracy_score(labels, predicted, sample_weight=sample_weight))
