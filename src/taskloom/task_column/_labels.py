"""Read y: numbers for regressors, -1 and +1 for classifiers, with missing labels in tables of one column per task."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from taskloom.errors import DataError
from taskloom.task_column._column import show_labels
from taskloom.task_column._missing import are_missing
from taskloom.task_column._plain import is_plain

__all__ = ["as_vector", "read_classes", "read_numbers"]

Array = NDArray[np.float64]


def as_vector(y: Any) -> Any:
    """One label per row, for a table with a task column.

    Raises:
        DataError: y has one column per task, as it would have without a task column.
    """
    shape = np.shape(y)
    if len(shape) == 2 and shape[1] > 1:
        raise DataError(
            f"y has shape {shape}, but with task_feature given every row of X belongs to one task and has one label; "
            "expected (n,). If all tasks share the rows of X: task_feature=None"
        )
    return column_or_1d(y, warn=True)


def read_numbers(y: Any) -> Array:
    """Labels of a regressor, float64; NaN (missing) only where there is one column per task.

    Args:
        y: (n,) or (n, T).
    """
    if is_plain(y) and y.ndim <= 2:
        return y
    try:
        numbers: Array = check_array(
            y, ensure_2d=False, ensure_all_finite=False, dtype=np.float64, input_name="y", ensure_min_samples=0
        )
    except (TypeError, ValueError) as error:
        if np.asarray(y).dtype.kind in "USTO":
            raise DataError(f"y does not hold numbers ({error}); for two labels use a classifier") from error
        raise
    _check_finite(numbers)
    return numbers


def read_classes(y: Any) -> tuple[Array, NDArray[Any]]:
    """Labels of a classifier as -1 and +1 (NaN: missing), and the two labels.

    Args:
        y: (n,) or (n, T); two labels in all tasks together.

    Returns:
        numbers shaped as y, and the sorted labels, shape (2,), or (1,) where there is one label only.
    """
    labels = check_array(y, ensure_2d=False, ensure_all_finite=False, dtype=None, input_name="y", ensure_min_samples=0)
    if labels.dtype == object:
        labels = _of_one_type(labels)
    missing = np.zeros(labels.shape, dtype=bool)
    if labels.dtype.kind == "f":
        _check_finite(labels)
        missing = np.isnan(labels)
    observed = labels[~missing]
    check_classification_targets(observed)
    classes = np.unique(observed)
    if len(classes) > 2:
        raise DataError(
            "Only binary classification is supported. The type of the target is multiclass. Found the labels "
            f"{show_labels(classes)}; all tasks share one pair of labels"
        )
    numbers = np.where(labels == classes[-1], 1.0, -1.0) if len(classes) == 2 else np.ones(labels.shape)
    numbers[missing] = np.nan
    return numbers, classes


def _of_one_type(labels: NDArray[Any]) -> NDArray[Any]:
    """Objects as the text, or the numbers and truth values, that they are; numbers may be missing (None)."""
    values, missing = labels.ravel(), are_missing(labels).ravel()
    are_text = {isinstance(value, str) for value in values[~missing]}
    if are_text == {True, False}:
        raise DataError("y mixes text and numbers; write all labels in one way, for example as text")
    if True not in are_text:
        return np.array(np.where(missing, np.nan, values).tolist()).reshape(labels.shape)
    if missing.any():
        first = tuple(int(index[0]) for index in np.nonzero(missing.reshape(labels.shape)))
        raise DataError(
            f"Input y contains NaN: {int(missing.sum())} labels are missing among text (first at {first}). Leave such "
            "rows out; where y has one column per task, write the labels as 0.0 and 1.0 and what is missing as NaN"
        )
    return labels


def _check_finite(numbers: NDArray[Any]) -> None:
    """Refuse infinite labels, and missing ones where rows of X could be left out instead."""
    if np.isinf(numbers).any():
        where = tuple(int(index[0]) for index in np.nonzero(np.isinf(numbers)))
        raise DataError(
            f"Input y contains infinity or a value too large for dtype('float64'). First at {where}; correct it or "
            "leave the row out"
        )
    if numbers.ndim == 1 and np.isnan(numbers).any():
        rows = np.flatnonzero(np.isnan(numbers))
        raise DataError(
            f"Input y contains NaN. {len(rows)} rows have no label (first: row {int(rows[0])}); leave them out. Only a "
            "y with one column per task (task_feature=None) may have missing labels"
        )
    if numbers.ndim == 2 and numbers.size and np.isnan(numbers).all():
        raise DataError("every label of y is missing (NaN); expected at least one number")
