"""Adding a task to a model or removing one: copy it, and let the architecture append or drop its parts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from taskloom.errors import TaskError
from taskloom.nn.adapters import factory_of
from taskloom.nn.parallel import Parallel
from taskloom.task import Task, check_tasks

if TYPE_CHECKING:
    from taskloom.nn.model import Freeze, MultiTaskModel

__all__ = ["add_copy", "freeze_module", "fresh_copy", "grown", "shrunk", "thaw_norms"]

Model = TypeVar("Model", bound="MultiTaskModel")
Part = TypeVar("Part", bound=nn.Module)

_MOMENTUM = "momentum_before_freezing"


def freeze_module(module: nn.Module) -> None:
    """Keep a module's outputs in evaluation mode as they are, whatever is trained later."""
    module.requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and not hasattr(part, _MOMENTUM):
            setattr(part, _MOMENTUM, part.momentum)
            part.momentum = 0.0  # running statistics would go on changing in training mode


def thaw_norms(module: Part) -> Part:
    """Let the running statistics of a module learn again; the module itself."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and hasattr(part, _MOMENTUM):
            part.momentum = part.__dict__.pop(_MOMENTUM)
    return module


def fresh_copy(module: nn.Module) -> nn.Module:
    """A newly drawn copy of a module that learns, also when the module is frozen."""
    return thaw_norms(factory_of(module)()).requires_grad_(True)


def grown(model: Model, task: Task, *, freeze: Freeze, shared: Sequence[str], besides: Sequence[Task] = ()) -> Model:
    """A deep copy that knows one more task, frozen as asked, to which the caller appends the new parts.

    Args:
        model: the model to grow; it is not changed.
        task: the new task.
        freeze: ``"old"`` everything that exists, ``"shared"`` the shared modules, ``"none"`` nothing.
        shared: names of the attributes that hold shared modules.
        besides: tasks that come with the new one, behind it.

    Raises:
        TaskError: a task of this name exists, or freeze is unknown.
    """
    tasks = check_tasks([*model.task_objects, task, *besides])
    if freeze not in ("old", "shared", "none"):
        raise TaskError(f"freeze must be 'old', 'shared' or 'none', found {freeze!r}")
    new = copy.deepcopy(model)
    if freeze == "old":
        freeze_module(new)
    elif freeze == "shared":
        for name in shared:
            freeze_module(getattr(new, name))
    _rename(new, tasks)
    return new


def shrunk(model: Model, task: str) -> Model:
    """A deep copy without a task, after the architecture has dropped the parts of it.

    Args:
        model: the model; it is not changed.
        task: name of the task that goes.

    Raises:
        TaskError: the model has no such task, or no other.
    """
    index = model.position(task)
    if len(model.tasks) == 1:
        raise TaskError(f"{task!r} is the only task of the model; a model needs at least one task")
    new = copy.deepcopy(model)
    new.forget(index)
    _rename(new, (*model.task_objects[:index], *model.task_objects[index + 1 :]))
    return new


def _rename(model: MultiTaskModel, tasks: tuple[Task, ...]) -> None:
    model.task_objects = tasks
    model.tasks = tuple(each.name for each in tasks)
    model._positions = {name: index for index, name in enumerate(model.tasks)}


def add_copy(modules: Parallel) -> None:
    """Append a newly drawn copy of the first module, which learns."""
    modules.append(fresh_copy(modules[0]))
