"""Adding a task to a model: copy it, freeze what should stay as it is, and let the architecture append its parts."""

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

__all__ = ["add_copy", "freeze_module", "grown"]

Model = TypeVar("Model", bound="MultiTaskModel")


def freeze_module(module: nn.Module) -> None:
    """Keep a module's outputs in evaluation mode as they are, whatever is trained later."""
    module.requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = 0.0  # running statistics would go on changing in training mode


def grown(model: Model, task: Task, *, freeze: Freeze, shared: Sequence[str]) -> Model:
    """A deep copy that knows one more task, frozen as asked, to which the caller appends the new parts.

    Args:
        model: the model to grow; it is not changed.
        task: the new task.
        freeze: ``"old"`` everything that exists, ``"shared"`` the shared modules, ``"none"`` nothing.
        shared: names of the attributes that hold shared modules.

    Raises:
        TaskError: a task of this name exists, or freeze is unknown.
    """
    tasks = check_tasks([*model.task_objects, task])
    if freeze not in ("old", "shared", "none"):
        raise TaskError(f"freeze must be 'old', 'shared' or 'none', found {freeze!r}")
    new = copy.deepcopy(model)
    if freeze == "old":
        freeze_module(new)
    elif freeze == "shared":
        for name in shared:
            freeze_module(getattr(new, name))
    new.task_objects = tasks
    new.tasks = tuple(each.name for each in tasks)
    new._positions = {name: index for index, name in enumerate(new.tasks)}
    return new


def add_copy(modules: Parallel) -> None:
    """Append a newly drawn, trainable copy of the first module."""
    fresh = factory_of(modules[0])()
    modules.append(fresh.requires_grad_(True))
