"""What new rows must look like: the tasks and columns that data had, without any value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from taskloom.data._columns import FeatureKind
from taskloom.errors import DataError, nearest
from taskloom.task import Binary, Kind, Multiclass, Regression, Task

__all__ = ["Layout", "Schema"]

Layout = Literal["multi_label", "multi_data_set"]

# Kinds that can be read back from JSON; a kind of the user's own is given again in code.
_KINDS: dict[str, Callable[[tuple[str, ...]], Kind]] = {
    "regression": lambda labels: Regression(),
    "binary": lambda labels: Binary((labels[0], labels[1])),
    "multiclass": lambda labels: Multiclass(len(labels), labels),
}


@dataclass(frozen=True)
class Schema:
    """Tasks, columns and their kinds, as needed to read new rows for prediction.

    Args:
        layout: ``"multi_label"`` or ``"multi_data_set"``.
        tasks: the tasks (name and kind count).
        features: name and kind of each feature column; empty for array inputs.
        input_shape: shape of one sample of array inputs; empty for tables.
        task_column: column that says which task a row belongs to, if there is one.
        common_target: True if all tasks predict the same quantity.

    Example:
        >>> schema = Schema("multi_label", (Task(name="a", kind=Regression()),), features=(("x", "numeric"),))
        >>> Schema.from_dict(schema.to_dict()) == schema
        True
    """

    layout: Layout
    tasks: tuple[Task, ...]
    features: tuple[tuple[str, FeatureKind], ...] = ()
    input_shape: tuple[int, ...] = ()
    task_column: str | None = None
    common_target: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "layout": self.layout,
            "tasks": [
                {"name": task.name, "kind": task.kind.name, "labels": list(getattr(task.kind, "labels", ()))}
                for task in self.tasks
            ],
            "features": [{"name": name, "kind": kind} for name, kind in self.features],
            "input_shape": list(self.input_shape),
            "task_column": self.task_column,
            "common_target": self.common_target,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Schema:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: a kind that is not one of the library's own.
        """
        for task in record["tasks"]:
            if task["kind"] not in _KINDS:
                raise DataError(
                    f"task {task['name']!r} has the kind {task['kind']!r}, which cannot be read from a file."
                    f"{nearest(task['kind'], _KINDS)} Build the data with the Task objects in code"
                )
        return cls(
            layout=record["layout"],
            tasks=tuple(
                Task(name=task["name"], kind=_KINDS[task["kind"]](tuple(task["labels"]))) for task in record["tasks"]
            ),
            features=tuple((column["name"], column["kind"]) for column in record["features"]),
            input_shape=tuple(record["input_shape"]),
            task_column=record["task_column"],
            common_target=record["common_target"],
        )
