"""From which strength on a penalty leaves no coefficient."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from taskloom.errors import DataError
from taskloom.linear.base import TaskLinearModel
from taskloom.regularised.data import TaskData
from taskloom.regularised.solve import largest_alpha
from taskloom.task_column import fit_rows, loss_factors

__all__ = ["largest_strength"]


def largest_strength(estimator: TaskLinearModel, X: Any, *, y: Any, sample_weight: Any = None) -> float:
    """By how much all strengths of an estimator have to be multiplied for its coefficients to become 0.

    With one strength of 1 it is the largest one that is of use, where a path begins.

    Args:
        estimator: with a penalty; it is not changed.
        X: as in ``fit``.
        y: as in ``fit``.
        sample_weight: as in ``fit``.

    Returns:
        the factor: at it and above all coefficients are 0, below it they are not; infinite for ridges.

    Raises:
        DataError, TaskError: as ``fit``; a strength is 0, and no multiple of it leaves nothing.

    Example:
        >>> import numpy as np
        >>> from taskloom.linear import TraceNorm
        >>> X, Y = np.diag([3.0, 1.0]), np.diag([3.0, 0.5])
        >>> factor = largest_strength(TraceNorm(1.0, fit_intercept=False), X, y=Y)
        >>> factor
        4.5
        >>> bool(TraceNorm(factor, fit_intercept=False).fit(X, Y).coef_.any())
        False
    """
    estimator = clone(estimator)  # checking leaves attributes behind
    rows = estimator._admit(fit_rows(estimator, X, y=y, sample_weight=sample_weight, accept_sparse=True))
    factors = loss_factors(rows, estimator.loss_weights)
    weights = tuple(factor * one for factor, one in zip(factors, rows.sample_weights, strict=True))
    data = TaskData(
        designs=rows.designs, targets=rows.targets, weights=weights, fit_intercept=bool(estimator.fit_intercept)
    )
    penalty = estimator._penalty(rows.n_tasks, rows.n_features)
    if penalty is None:
        raise DataError(
            f"{type(estimator).__name__} has no penalty with these strengths; give positive ones, they are multiplied"
        )
    return float(largest_alpha(estimator._risk(data), penalty))
