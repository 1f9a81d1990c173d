"""Which loss a kind of task has when none is given."""

from __future__ import annotations

from functools import singledispatch

from taskloom.errors import TaskError
from taskloom.losses.base import Loss
from taskloom.losses.binary_cross_entropy import BinaryCrossEntropy
from taskloom.losses.cross_entropy import CrossEntropy
from taskloom.losses.squared_error import SquaredError
from taskloom.task import Binary, Kind, Multiclass, Regression

__all__ = ["default_loss"]


@singledispatch
def default_loss(kind: Kind) -> Loss:
    """Loss of a kind of task: squared error for numbers, cross entropy for classes.

    A new kind joins with ``default_loss.register(MyKind, lambda kind: MyLoss())``.

    Args:
        kind: kind of the task.

    Returns:
        the loss.

    Raises:
        TaskError: no loss is registered for this kind.

    Example:
        >>> default_loss(Regression()), default_loss(Multiclass(3))
        (SquaredError(), CrossEntropy())
    """
    raise TaskError(
        f"no loss is registered for the kind {kind!r}; expected a kind with a default loss. Give the task a loss, "
        f"Task(..., loss=...), or register one: default_loss.register({type(kind).__name__}, lambda kind: MyLoss())."
    )


@default_loss.register
def _(kind: Regression) -> Loss:
    return SquaredError()


@default_loss.register
def _(kind: Binary) -> Loss:
    return BinaryCrossEntropy()


@default_loss.register
def _(kind: Multiclass) -> Loss:
    return CrossEntropy()
