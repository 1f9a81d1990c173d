"""Sample weights that make classes count alike within each task."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.task_column._column import TaskFeature, take_column

__all__ = ["balanced_weights"]


def balanced_weights(X: Any, y: Any, *, task_feature: TaskFeature | None = 0) -> NDArray[np.float64]:
    """Weights under which all classes of a task count the same, and every task as much as it has rows.

    What ``class_weight="balanced"`` is for one task, by task. Pass them to ``fit`` as ``sample_weight``.

    Args:
        X: (n, d + 1) table with the task column.
        y: (n,) classes.
        task_feature: position or name of the task column; None: all rows belong to one task.

    Returns:
        (n,), ``n_t / (number of classes in the task * rows of the class in the task)``.

    Raises:
        DataError: X and y of different lengths.

    Example:
        >>> balanced_weights([[0, 5.0], [0, 6.0], [0, 7.0], [1, 8.0]], ["a", "b", "b", "a"])
        array([1.5 , 0.75, 0.75, 1.  ])
    """
    classes = np.unique(np.asarray(y), return_inverse=True)[1]
    column = np.zeros(len(classes), dtype=int) if task_feature is None else take_column(X, task_feature)[1]
    if len(column) != len(classes):
        raise DataError(f"X has {len(column)} rows and y has {len(classes)}; expected as many")
    tasks = np.unique(column, return_inverse=True)[1]
    counts = np.zeros((tasks.max(initial=0) + 1, classes.max(initial=0) + 1))
    np.add.at(counts, (tasks, classes), 1.0)
    n_classes = (counts > 0).sum(axis=1)
    weights: NDArray[np.float64] = counts.sum(axis=1)[tasks] / (n_classes[tasks] * counts[tasks, classes])
    return weights
