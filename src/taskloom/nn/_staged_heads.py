"""Heads of tasks that read different stages of one encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from taskloom.nn.heads.default import build_heads
from taskloom.nn.parallel import Parallel
from taskloom.task import Task

__all__ = ["heads_of_stages"]


def heads_of_stages(
    tasks: Sequence[Task],
    stages: Sequence[nn.Module],
    *,
    levels: Sequence[int],
    heads: Mapping[str, nn.Module] | None,
    example: Any,
) -> Parallel:
    """Heads in task order, each as wide as the stage that its task reads.

    Args:
        tasks: the tasks.
        stages: the stages of the encoder.
        levels: index of the stage of each task.
        heads: task name -> head; all tasks or none.
        example: sample input of the first stage, for stages that do not say their ``out_features``.

    Raises:
        TaskError: the heads do not match the tasks, or a width is not known.
    """
    if heads is not None:
        return build_heads(tasks, stages[-1], heads=heads)
    examples = _inputs_of(stages, example)
    made = [
        build_heads([task], stages[level], example=examples[level])[0]
        for task, level in zip(tasks, levels, strict=True)
    ]
    return Parallel(made)


@torch.no_grad()
def _inputs_of(stages: Sequence[nn.Module], example: Any) -> list[Any]:
    """What each stage gets when the first gets the example; None throughout without one."""
    if example is None:
        return [None] * len(stages)
    modes = [stage.training for stage in stages]
    inputs = [example]
    for stage in stages[:-1]:
        inputs.append(stage.eval()(inputs[-1]))
    for stage, mode in zip(stages, modes, strict=True):
        stage.train(mode)
    return inputs
