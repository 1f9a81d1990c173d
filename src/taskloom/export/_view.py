"""Chosen tasks of a model as a plain module with a flat tuple of outputs, the form that runtimes and tracers take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.model import MultiTaskModel

__all__ = ["ExportView", "export_view"]


class ExportView(nn.Module):
    """``inputs -> (output of the first task, output of the second, ...)``, in evaluation mode.

    Args:
        modules: one module per task, each from the common input to the outputs of its task.
        tasks: their names; ``view.tasks`` says which output is whose.

    Example:
        >>> import torch
        >>> view = ExportView([nn.Linear(3, 1), nn.Linear(3, 2)], ["a", "b"])
        >>> [tuple(output.shape) for output in view(torch.zeros(4, 3))]
        [(4, 1), (4, 2)]
    """

    def __init__(self, modules: Sequence[nn.Module], tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.members = nn.ModuleList(modules)
        self.eval()

    def forward(self, inputs: Any) -> tuple[Tensor, ...]:
        return tuple(module(inputs) for module in self.members)


class _Whole(nn.Module):
    """Several tasks of one model, which computes what they share once."""

    def __init__(self, model: nn.Module, tasks: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.tasks = tuple(tasks)
        self.eval()

    def forward(self, inputs: Any) -> tuple[Tensor, ...]:
        outputs = self.model(inputs, list(self.tasks))
        return tuple(outputs[task] for task in self.tasks)


def export_view(model: MultiTaskModel, tasks: Sequence[str] | None = None) -> nn.Module:
    """Copy what some tasks need into a module that returns their outputs as a tuple.

    One task gets its own path alone (``model.export(task)``): no gate, policy or factor that other tasks need is left.
    Several tasks get the exported model, so that what they share is computed once.

    Args:
        model: the trained network; it is not changed.
        tasks: names of the tasks, in the order of the outputs; default all.

    Returns:
        a module in evaluation mode, ``inputs -> tuple of outputs``, with the names in ``.tasks``.

    Raises:
        TaskError: no task, an unknown task, or one named twice.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP, HardSharing
        >>> from taskloom.task import Regression, Task
        >>> model = HardSharing(MLP(3), [Task(name=name, kind=Regression()) for name in "ab"])
        >>> view = export_view(model, ["b"])
        >>> view.tasks, len(view(torch.zeros(2, 3)))
        (('b',), 1)
    """
    asked = list(model.tasks) if tasks is None else [tasks] if isinstance(tasks, str) else list(tasks)
    if not asked:
        raise TaskError(f"tasks: found none; name some of {list(model.tasks)}")
    if len(set(asked)) < len(asked):
        raise TaskError(f"tasks: found {asked}; name every task once")
    for task in asked:
        model.position(task)
    if len(asked) == 1:
        return ExportView([model.export(asked[0])], asked)
    return _Whole(model.export(), asked)
