"""The head a task gets when the user gives none, by kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn.parallel import Parallel
from taskloom.task import Kind, Task

__all__ = ["build_head", "build_heads", "default_head", "features_of"]


@singledispatch
def default_head(kind: Kind, in_features: int) -> nn.Module:
    """Head of one task: a linear layer with as many outputs as the kind has.

    A new kind that needs another head registers it: ``default_head.register(MyKind)(my_function)``.

    Args:
        kind: what the task predicts.
        in_features: width of the features.

    Returns:
        module (n, in_features) -> (n, kind.n_outputs).

    Example:
        >>> from taskloom.task import Multiclass
        >>> default_head(Multiclass(5), 8)
        Linear(in_features=8, out_features=5, bias=True)
    """
    return nn.Linear(in_features, kind.n_outputs)


def features_of(encoder: nn.Module, *, example: Any = None) -> int:
    """Width of an encoder's features: its attribute ``out_features``, or the last axis of a dry run.

    Args:
        encoder: module that gives (n, D).
        example: a sample input, used when the encoder has no ``out_features``.

    Raises:
        TaskError: there is neither the attribute nor an example, or the features are no tensor.

    Example:
        >>> features_of(nn.Flatten(), example=torch.zeros(2, 3, 4))
        12
    """
    width = getattr(encoder, "out_features", None)
    if isinstance(width, int):
        return width
    if example is None:
        raise TaskError(
            f"{type(encoder).__name__} does not say how wide its features are; set encoder.out_features = ..., "
            "or give example= (a sample input), or give the heads yourself with heads="
        )
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        features = encoder(example)
    encoder.train(was_training)
    if not isinstance(features, torch.Tensor):
        raise TaskError(
            f"{type(encoder).__name__} returned a {type(features).__name__}, and a linear head needs a tensor; "
            "give heads= that take it"
        )
    return int(features.shape[-1])


def build_heads(
    tasks: Sequence[Task], encoder: nn.Module, *, heads: Mapping[str, nn.Module] | None = None, example: Any = None
) -> Parallel:
    """Heads of all tasks in task order: the given ones, or the default of each kind.

    Args:
        tasks: the tasks.
        encoder: what computes the features; asked for their width when heads are made here.
        heads: task name -> head; all tasks or none.
        example: sample input of the encoder, see :func:`features_of`.

    Raises:
        TaskError: the heads do not match the tasks.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> build_heads([Task(name="price", kind=Regression())], MLP(4, (8,)))[0]
        Linear(in_features=8, out_features=1, bias=True)
    """
    names = [task.name for task in tasks]
    if heads is None:
        width = features_of(encoder, example=example)
        return Parallel([default_head(task.kind, width) for task in tasks])
    if set(heads) != set(names):
        raise TaskError(f"heads {sorted(heads)} do not match tasks {sorted(names)}; give one head per task")
    if len({id(head) for head in heads.values()}) < len(names):
        raise TaskError("one head module is given for several tasks; give each task its own module")
    return Parallel([heads[name] for name in names])


def build_head(
    task: Task, encoder: nn.Module, *, others: Parallel, head: nn.Module | None = None, example: Any = None
) -> nn.Module:
    """Head of one more task: the given one, or the default of its kind, as wide as the linear heads that exist.

    Args:
        task: the new task.
        encoder: what computes the features; asked for their width when no existing head is linear.
        others: the heads that exist.
        head: the head, if the user gives one.
        example: sample input of the encoder, see :func:`features_of`.

    Example:
        >>> from taskloom.task import Regression
        >>> task = Task(name="price", kind=Regression())
        >>> build_head(task, nn.Flatten(), others=Parallel([nn.Linear(8, 3)]))
        Linear(in_features=8, out_features=1, bias=True)
    """
    if head is not None:
        return head
    widths = [other.in_features for other in others if isinstance(other, nn.Linear)]
    return default_head(task.kind, widths[0] if widths else features_of(encoder, example=example))
