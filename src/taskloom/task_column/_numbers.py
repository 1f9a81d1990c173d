"""The columns of a table as numbers, or an error that says what to do with columns that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from taskloom.errors import DataError

__all__ = ["read_table", "read_weights"]


def read_table(X: Any, *, estimator: BaseEstimator, accept_sparse: bool = False, allow_nan: bool = False) -> Any:
    """A table without the task column as float64, dense or (where it was sparse) by columns.

    Args:
        X: (n, d).
        estimator: who asks, for messages.
        accept_sparse: whether X may be sparse.
        allow_nan: whether values may be missing.

    Raises:
        DataError: text.
        ValueError: missing and infinite values, no rows or columns, as scikit-learn says it.
        TypeError: a sparse table where none is taken.

    Example:
        >>> from sklearn.linear_model import Ridge
        >>> read_table([["0.5", "two"]], estimator=Ridge())
        Traceback (most recent call last):
        taskloom.errors.DataError: X does not hold numbers (could not convert string to float: 'two'); encode text ...
    """
    try:
        return check_array(
            X,
            accept_sparse="csc" if accept_sparse else False,
            dtype=np.float64,
            ensure_all_finite="allow-nan" if allow_nan else True,
            input_name="X",
            estimator=estimator,
        )
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        has_column = getattr(estimator, "task_feature", 0) is not None
        other = "" if has_column else "; or say by task_feature which column has the labels of the tasks"
        raise DataError(
            f"X does not hold numbers ({error}); encode text first (sklearn.preprocessing.OneHotEncoder){other}"
        ) from error


def read_weights(sample_weight: Any) -> Any:
    """Sample weights as float64, of any shape.

    Raises:
        DataError: text.
        ValueError: missing and infinite weights, as scikit-learn says it.
    """
    try:
        return check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight", ensure_min_samples=0
        )
    except ValueError as error:
        if "could not convert string" not in str(error):
            raise
        raise DataError(f"sample_weight does not hold numbers ({error}); expected numbers of at least 0") from error
