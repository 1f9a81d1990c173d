"""Refuse one table per task where one table is wanted, and say how to stack them."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskloom.errors import DataError

__all__ = ["count_axes", "refuse_several_tables"]


def count_axes(values: Any) -> int:
    """Number of axes of an array, a frame or nested lists; 0 for a number."""
    shape = getattr(values, "shape", None)
    if shape is not None:
        return len(shape)
    if isinstance(values, list | tuple):
        return 1 + (count_axes(values[0]) if values else 0)
    return 0


def _has_many_lengths(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(count_axes(one) == 1 for one in values) and len({len(one) for one in values}) > 1


def _describe(values: Any) -> str | None:
    """What the tables come in; None where this is one table or one vector."""
    if isinstance(values, np.ndarray):
        if values.dtype == object and values.size and count_axes(values.flat[0]) > 0:
            return f"an object array of {values.size} arrays"
        return f"an array of shape {values.shape}" if values.ndim > 2 else None
    if isinstance(values, list | tuple) and values and (count_axes(values[0]) > 1 or _has_many_lengths(values)):
        return f"a {type(values).__name__} of {len(values)} arrays"
    return None


def refuse_several_tables(**arguments: Any) -> None:
    """Raise if an argument, given by its name, is a list of tables, an array of arrays or an array of three axes.

    Raises:
        DataError: naming the argument, what it is and what to do.
    """
    for name, values in arguments.items():
        found = _describe(values)
        if found is not None:
            raise DataError(
                f"{name} is {found}; expected one table, with a column that says which task a row belongs to. With one "
                "table per task: X, y = stack_tasks(Xs, ys), then an estimator with task_feature=0"
            )
