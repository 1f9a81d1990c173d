"""Which tasks can have one common head."""

from __future__ import annotations

from collections.abc import Sequence

from taskloom.errors import TaskError
from taskloom.task import Task

__all__ = ["check_one_form", "has_one_form"]


def has_one_form(tasks: Sequence[Task]) -> bool:
    """Whether all tasks have the same type of kind and the same number of outputs.

    Example:
        >>> from taskloom.task import Binary, Regression
        >>> has_one_form([Task(name="a", kind=Regression()), Task(name="b", kind=Binary())])
        False
    """
    return len({(type(task.kind), task.kind.n_outputs) for task in tasks}) == 1


def check_one_form(tasks: Sequence[Task], *, architecture: str) -> None:
    """Raise TaskError, naming two tasks that differ, unless all tasks have one output form."""
    if has_one_form(tasks):
        return
    first = tasks[0]
    other = next(task for task in tasks if not has_one_form([first, task]))
    raise TaskError(
        f"{architecture} has one head for all tasks, but task {first.name!r} is {first.kind.name} with "
        f"{first.kind.n_outputs} outputs and task {other.name!r} is {other.kind.name} with {other.kind.n_outputs}; "
        "use an architecture with one head per task, such as HardSharing"
    )
