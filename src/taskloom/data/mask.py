"""The one convention for "not labelled".

A target may say that a row has no label by NaN (floating point), by None or a missing value of a data frame
(objects), by -1 or -100 in integer class codes (the conventions of scikit-learn and of PyTorch), by a masked array,
or by an explicit mask. Here all of them become one boolean array; nothing else in the library looks for them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from taskloom.errors import DataError

__all__ = ["UNLABELLED_CODES", "as_array", "is_labelled", "is_missing"]

UNLABELLED_CODES = (-1, -100)


def as_array(values: Any) -> np.ndarray:
    """Turn whatever holds values - list, NumPy array, data-frame column, torch tensor - into a NumPy array.

    Example:
        >>> as_array([1, 2]).tolist(), as_array([1.0, None]).dtype
        ([1, 2], dtype('O'))
    """
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach"):  # a torch tensor, known by what it does so that torch is not loaded here
        return np.asarray(values.detach().cpu().numpy())
    if hasattr(values, "to_numpy"):
        return np.asarray(values.to_numpy())
    return np.asarray(values)


def is_labelled(values: Any, *, codes: bool = False, mask: Any = None) -> np.ndarray:
    """Say for every element whether it is labelled.

    Args:
        values: targets of one task, shape (n,).
        codes: True if integers are class codes, so that -1 and -100 mean "not labelled"; a regression target may
            be -1 like any other number.
        mask: True where labelled, shape (n,); combined with what the values say.

    Returns:
        bool array (n,), True = labelled.

    Raises:
        DataError: the mask has another shape than the values, or is not boolean.

    Example:
        >>> is_labelled([1.0, float("nan")]).tolist(), is_labelled([0, -100, -1, 2], codes=True).tolist()
        ([True, False], [True, False, False, True])
        >>> is_labelled(["yes", None]).tolist(), is_labelled([1, -1], mask=[False, True]).tolist()
        ([True, False], [False, True])
    """
    array = as_array(values)
    known = np.ones(array.shape, dtype=bool)
    if isinstance(array, np.ma.MaskedArray):
        known &= ~np.ma.getmaskarray(array)
        array = np.asarray(array.data)
    if array.dtype.kind == "f":
        known &= ~np.isnan(array)
    elif array.dtype.kind in "mM":
        known &= ~np.isnat(array)
    elif array.dtype == object:
        known &= np.fromiter((not is_missing(value) for value in array.ravel()), bool, array.size).reshape(array.shape)
    if codes and array.dtype.kind in "if":
        known &= ~np.isin(array, UNLABELLED_CODES)
    if mask is None:
        return known
    given = as_array(mask)
    if given.shape != known.shape:
        raise DataError(f"a mask has shape {given.shape}, its values {known.shape}; give one True or False per value")
    if given.dtype != bool and not np.isin(given, (0, 1)).all():
        raise DataError("a mask must hold True (labelled) and False only; build it with a comparison")
    return np.asarray(known & given.astype(bool))


def is_missing(value: object) -> bool:
    """True for None, NaN, and the missing values of data frames.

    Example:
        >>> is_missing(None), is_missing(float("nan")), is_missing(0)
        (True, True, False)
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))
