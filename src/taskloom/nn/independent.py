"""One network per task, nothing shared: ``y_t = head_t(f_t(x))``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.nn._separate import SeparateEncoders
from taskloom.task import Task

__all__ = ["Independent"]


class Independent(SeparateEncoders):
    """One network per task, trained side by side without sharing anything (single-task learning).

    The reference that every joint method is compared with.

        y_t = head_t(f_t(x))

    Args:
        encoder: function without arguments that builds a new encoder, or an encoder to copy and re-initialise.
        tasks: the tasks.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: the factory repeats itself, or heads do not match the tasks.

    Cost:
        K encoders; in training mode one batched computation for all tasks of equal batch size.

    Differs from the paper:
        nothing.

    Source:
        the single-task networks of R. Caruana, Multitask Learning, Machine Learning 28, 1997.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> model = Independent(lambda: MLP(4), [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())])
        >>> list(model.shared_parameters()), model(torch.zeros(3, 4))["b"].shape
        ([], torch.Size([3, 1]))
    """

    def __init__(
        self,
        encoder: nn.Module | Callable[[], nn.Module],
        tasks: Sequence[Task],
        *,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(encoder, tasks, same_start=False, heads=heads, example=example)
