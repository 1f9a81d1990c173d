"""The exceptions of taskloom: one base and one child for each thing that can be wrong.

Every message has three parts: what was found, what was expected, what to do. :func:`nearest` gives the
"did you mean" part for unknown names.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BalanceError",
    "DataError",
    "EngineError",
    "ExportError",
    "NoCommonFeature",
    "StudyError",
    "TaskError",
    "TaskloomError",
    "nearest",
]


class TaskloomError(Exception):
    """Base of every error that taskloom raises on purpose.

    Example:
        >>> issubclass(DataError, TaskloomError)
        True
    """


class TaskError(TaskloomError, ValueError):
    """A task, its name or its kind is wrong.

    Example:
        >>> raise TaskError("task names must be unique")
        Traceback (most recent call last):
        taskloom.errors.TaskError: task names must be unique
    """


class DataError(TaskloomError, ValueError):
    """Data have a wrong shape, mask, column or split.

    Example:
        >>> issubclass(DataError, ValueError)
        True
    """


class BalanceError(TaskloomError, ValueError):
    """A chain of balancing links or a weight solver cannot do what was asked.

    Example:
        >>> issubclass(BalanceError, ValueError)
        True
    """


class EngineError(TaskloomError, RuntimeError):
    """Per-task gradients cannot be measured (graph, precision, ranks).

    Example:
        >>> issubclass(EngineError, RuntimeError)
        True
    """


class NoCommonFeature(EngineError):
    """The model has no feature tensor that all shared parameters feed.

    Feature-level gradients stand for parameter gradients only where every path from a shared parameter to an output
    passes through the same tensors and no shared parameter lies behind them. Use parameter gradients elsewhere.

    Example:
        >>> issubclass(NoCommonFeature, EngineError)
        True
    """


class ExportError(TaskloomError, RuntimeError):
    """A model or a result cannot be written or read.

    Example:
        >>> issubclass(ExportError, RuntimeError)
        True
    """


class StudyError(TaskloomError, RuntimeError):
    """A comparison cannot be run, continued or stored.

    Example:
        >>> issubclass(StudyError, RuntimeError)
        True
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name is nearest to an unknown one.

    Args:
        name: the unknown name.
        known: the names that exist.

    Returns:
        ``" Did you mean 'x'?"``, or the known names when none is near, or an empty text when there are none.

    Example:
        >>> nearest("hieght", ["height", "weight"])
        " Did you mean 'height'?"
    """
    names = [str(other) for other in known]
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if matches:
        return f" Did you mean {matches[0]!r}?"
    if not names:
        return ""
    shown = ", ".join(repr(other) for other in names[:12])
    return f" Known: {shown}{', ...' if len(names) > 12 else ''}."
