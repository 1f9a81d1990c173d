"""Refuse one table per task where one table is wanted, and say how to stack them."""

from __future__ import annotations

from typing import Any

import numpy as np

from taskloom.errors import DataError

__all__ = ["count_axes", "describe_several_tables", "refuse_several_tables"]


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


def describe_several_tables(values: Any) -> str | None:
    """What several tables come in, for a message; None where this is one table or one vector.

    Args:
        values: anything.

    Example:
        >>> describe_several_tables(np.zeros((2, 3, 4))), describe_several_tables(np.zeros((3, 4)))
        ('an array of shape (2, 3, 4)', None)
    """
    if type(values) is dict:  # not a sparse matrix kept as one
        return f"a dict of {len(values)} entries"
    if isinstance(values, np.ndarray):
        if values.dtype == object and values.size and count_axes(values.flat[0]) > 0:
            return f"an object array of {values.size} arrays"
        return f"an array of shape {values.shape}" if values.ndim > 2 else None
    if isinstance(values, list | tuple) and values and (count_axes(values[0]) > 1 or _has_many_lengths(values)):
        return f"a {type(values).__name__} of {len(values)} arrays"
    return None


def refuse_several_tables(X: Any, *, y: Any = None) -> None:
    """Raise if X or y is a list or dict of tables, an array of arrays or an array of three axes.

    Args:
        X: the table that the user passed.
        y: the labels that the user passed, if any.

    Raises:
        DataError: naming the argument, what it is and what to do.

    Example:
        >>> refuse_several_tables([[[0.0, 1.0]], [[1.0, 2.0]]])
        Traceback (most recent call last):
        taskloom.errors.DataError: X is a list of 2 arrays; expected one table, ...
    """
    for name, values, expected in (("X", X, "one table"), ("y", y, "one label for each row of X")):
        found = describe_several_tables(values)
        if found is not None:
            raise DataError(
                f"{name} is {found}; expected {expected}, and a column of X that says which task a row belongs to. "
                "With one table per task: X, y = stack_tasks(Xs, ys), then an estimator with task_feature=0"
            )
