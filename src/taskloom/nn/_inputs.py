"""What a call of a model asks for: which tasks, and whether each task brings its own input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskloom.errors import TaskError, nearest

__all__ = ["Request", "UnknownTask", "read_request"]


class UnknownTask(TaskError, KeyError):
    """A task was asked for that the model does not have.

    Example:
        >>> issubclass(UnknownTask, KeyError)
        True
    """

    def __str__(self) -> str:  # KeyError shows the repr of its message
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True, slots=True)
class Request:
    """Tasks to answer, in model order, with their indices; ``parts`` holds one input per task, or None."""

    names: tuple[str, ...]
    indices: tuple[int, ...]
    parts: list[Any] | None


def read_request(inputs: Any, tasks: Sequence[str] | None, positions: Mapping[str, int]) -> Request:
    """Check the arguments of ``forward`` once, at the door.

    A mapping all of whose keys are task names is one input per task; every other mapping goes to the encoder as it is.

    Args:
        inputs: input of the encoder, or task name -> input.
        tasks: task names asked for; None: all (of the mapping).
        positions: task name -> index, in model order.

    Raises:
        UnknownTask: a name the model does not have.
        TaskError: keys are partly task names, or no task is left.
    """
    asked = positions.keys() if tasks is None else _checked(tasks, positions)
    if not isinstance(inputs, Mapping):
        return _request(asked, positions, None)
    known = [key for key in inputs if key in positions]
    if not known:
        return _request(asked, positions, None)
    if len(known) < len(inputs):
        other = [key for key in inputs if key not in positions]
        raise TaskError(
            f"inputs mix task names {known} with other keys {other}; give one input per task or one input for all"
        )
    both = asked & inputs.keys()
    if not both:
        raise TaskError(f"inputs are for tasks {known}, asked were {sorted(asked)}; no task is in both")
    return _request(both, positions, inputs)


def _checked(tasks: Sequence[str], positions: Mapping[str, int]) -> set[str]:
    if isinstance(tasks, str):
        raise TaskError(f"tasks must be a sequence of names, found the text {tasks!r}; write [{tasks!r}]")
    asked = set(tasks)
    if not asked:
        raise TaskError("tasks must name at least one task")
    for name in tasks:
        if name not in positions:
            hint = nearest(str(name), positions) if len(positions) > 12 else ""
            shown = list(positions)[:12]
            more = ", ..." if len(positions) > 12 else ""
            listed = f"[{', '.join(repr(other) for other in shown)}{more}]"
            raise UnknownTask(f"unknown task {name!r}; this model has {listed}{hint}")
    return asked


def _request(asked: Any, positions: Mapping[str, int], inputs: Mapping[str, Any] | None) -> Request:
    names = tuple(name for name in positions if name in asked)
    indices = tuple(positions[name] for name in names)
    return Request(names, indices, None if inputs is None else [inputs[name] for name in names])
