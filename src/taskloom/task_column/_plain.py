"""Arrays that need no conversion: they skip the general checks, which cost as much as a small fit."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

__all__ = ["are_finite", "is_plain", "is_plain_table"]


def are_finite(numbers: NDArray[np.float64]) -> bool:
    """Whether all numbers are finite for sure; False also where only their sum is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(numbers.sum()))


def is_plain(values: Any) -> TypeGuard[NDArray[np.float64]]:
    """Whether general checks would return the values as they are: an array of finite float64 numbers, not empty.

    Args:
        values: anything.

    Example:
        >>> is_plain(np.eye(2)), is_plain([[1.0]]), is_plain(np.array([np.nan])), is_plain(np.arange(3))
        (True, False, False, False)
    """
    return type(values) is np.ndarray and values.dtype == np.float64 and values.size > 0 and are_finite(values)


def is_plain_table(values: Any) -> TypeGuard[NDArray[Any]]:
    """Whether the values are an array of two axes, of any type: its columns have no names.

    Args:
        values: anything.

    Example:
        >>> is_plain_table(np.eye(2)), is_plain_table(np.ones(2))
        (True, False)
    """
    return type(values) is np.ndarray and values.ndim == 2
