"""Parameters of norms of rows, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.regularised.penalties.row_groups import RowGroups
from taskloom.regularised.penalties.row_norm import RowNorm

__all__ = ["check_power", "middle_ratio", "norm_of_rows"]

Array = NDArray[np.float64]


def norm_of_rows(
    alpha: float, *, q: Any = 2.0, weights: Any = None, groups: Any = None, n_features: int
) -> RowNorm | RowGroups:
    """The norm that the estimators of rows share, with its parameters checked.

    Args:
        alpha: strength.
        q: norm of the rows, a number or one for each feature.
        weights: of the features.
        groups: labels of the features.
        n_features: d.

    Raises:
        DataError: a parameter out of range or of the wrong length.

    Example:
        >>> norm_of_rows(1.0, q=float("inf"), n_features=3)
        RowNorm(alpha=1.0, q=inf, weights=None)
    """
    powers: float | Array = _numbers("q", q, n_features, least=1.0) if np.ndim(q) else check_power("q", q)
    if weights is not None:
        weights = _numbers("feature_weights", weights, n_features, least=0.0)
        if not np.isfinite(weights).all():
            raise DataError("feature_weights holds inf; expected finite numbers")
        if not weights.any():
            raise DataError("feature_weights are all 0; expected a positive one, or alpha=0 for no penalty")
    if groups is None:
        return RowNorm(alpha, powers, weights)
    labels = np.asarray(groups)
    if labels.shape != (n_features,):
        raise DataError(f"groups has shape {labels.shape}; expected a label for each of the {n_features} features")
    _, first, places = np.unique(labels, return_index=True, return_inverse=True)
    return RowGroups(
        alpha,
        places,
        powers[first] if isinstance(powers, np.ndarray) else powers,
        None if weights is None else weights[first],
    )


def check_power(name: str, value: Any) -> float:
    """A norm's q: a number from 1 to infinity.

    Args:
        name: of the parameter, for the message.
        value: what the user gave.

    Raises:
        DataError: no number, or one below 1.

    Example:
        >>> check_power("q", 2)
        2.0
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not value >= 1:
        raise DataError(f"{name}={value!r}; expected a number from 1 to infinity")
    return float(value)


def middle_ratio(n_tasks: int, q: float) -> float:
    """``alpha_shared / alpha_specific`` in the middle of where both parts are of use, on a logarithmic scale.

    Args:
        n_tasks: T.
        q: norm of the rows.

    Example:
        >>> middle_ratio(4, np.inf), middle_ratio(16, 2.0)
        (2.0, 2.0)
    """
    dual = 1.0 if np.isinf(q) else np.inf if q == 1 else q / (q - 1)
    return float(n_tasks ** (1 / (2 * dual)))


def _numbers(name: str, values: Any, n_features: int, *, least: float) -> Array:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name}={values!r}; expected numbers, one for each feature") from None
    if numbers.shape != (n_features,):
        raise DataError(f"{name} has shape {numbers.shape}; expected a number for each of the {n_features} features")
    wrong = ~(numbers >= least)
    if wrong.any():
        raise DataError(f"{name} holds {numbers[wrong][0]:g}; expected numbers of at least {least:g}")
    return numbers
