"""Which objects stand for nothing: None, NaN, and what frames write for a missing value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["are_missing"]

_NAMES = frozenset({"NAType", "NaTType"})  # of pandas, which need not be installed


def are_missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each of several objects stands for nothing.

    Args:
        values: objects, any shape.

    Example:
        >>> are_missing(np.array([None, float("nan"), 0.0, "", "nan"], dtype=object))
        array([ True,  True, False, False, False])
    """
    flat = [_is_missing(value) for value in values.ravel()]
    return np.array(flat, dtype=bool).reshape(values.shape)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ in _NAMES
