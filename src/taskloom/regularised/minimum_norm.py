"""Least squares without any penalty: of all best fits of each task, the one with the smallest coefficients."""

from __future__ import annotations

import numpy as np

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.data import Array, Solution, TaskData

__all__ = ["minimum_norm"]


def minimum_norm(data: TaskData) -> Solution:
    """Fit each task by itself, by the pseudo-inverse of its rows.

    Args:
        data: designs, targets and weights; sparse designs are made dense one after another.

    Returns:
        one part; the gap compares with the risk of what no combination of features explains.

    Example:
        >>> X, y, w = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([1.0, 2.0]), np.ones(2)
        >>> minimum_norm(TaskData((X,), (y,), (w,), fit_intercept=False)).coefficients
        array([[0.5],
               [0.5]])
    """
    rows = Centred.of(data)
    A = np.zeros((data.n_features, data.n_tasks))
    unexplained = 0.0
    for task, (target, weights) in enumerate(zip(data.targets, data.weights, strict=True)):
        if not len(target):
            continue
        wanted: Array = np.sqrt(weights) * (target - rows.target_means[task])
        left, singular, right = np.linalg.svd(rows.scaled_rows(task), full_matrices=False)
        kept = singular > singular.max() * max(left.shape[0], right.shape[1]) * np.finfo(np.float64).eps
        along = left[:, kept].T @ wanted
        A[:, task] = right[kept].T @ (along / singular[kept])
        beside = wanted - left[:, kept] @ along
        unexplained += 0.5 * float(beside @ beside)
    objective = rows.value(A)
    return Solution((A,), rows.intercepts(A), objective, abs(objective - unexplained), 1, True)
