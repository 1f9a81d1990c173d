"""Layered supervision: easy tasks read low levels of a common encoder, harder ones higher levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch import nn

from taskloom.errors import TaskError
from taskloom.nn._batching import run_together
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._staged_heads import heads_of_stages
from taskloom.nn.heads.default import build_head
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.task import Task

__all__ = ["LayeredSupervision"]


class LayeredSupervision(MultiTaskModel):
    """One encoder of several stages; every task is read off at a level of its own.

    For tasks of which some need less processing than others (part of speech before syntax): supervision at the level
    where it belongs shapes the lower stages without binding the upper ones.

        h^0 = x,   h^l = s_l(h^(l-1)),   y_t = head_t(h^(l_t))

    All tasks at the last level is hard sharing. A call for some tasks stops at the highest level that they need.

    Args:
        stages: the stages in order, modules or functions that build one; an ``nn.Sequential`` is taken apart.
        tasks: the tasks.
        levels: task -> index of the stage whose output its head reads, from 0.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when a stage that is read does not say its ``out_features``.

    Raises:
        TaskError: a task without a level, a level that is not there, or a last stage that no task reads.

    Cost:
        the stages up to the highest level asked for, and the heads.

    Differs from the paper:
        all tasks learn in every step; the paper draws one task per step (use one input per task for that).

    Source:
        A. Søgaard, Y. Goldberg, Deep multi-task learning with low level tasks supervised at lower layers, ACL 2016.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Multiclass
        >>> tasks = [Task(name="tag", kind=Multiclass(5)), Task(name="chunk", kind=Multiclass(3))]
        >>> model = LayeredSupervision([MLP(4, (8,)), MLP(8, (6,))], tasks, levels={"tag": 0, "chunk": 1})
        >>> {task: tuple(output.shape) for task, output in model(torch.zeros(2, 4)).items()}
        {'tag': (2, 5), 'chunk': (2, 3)}
    """

    def __init__(
        self,
        stages: nn.Sequential | Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        levels: Mapping[str, int],
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        built = [stage if isinstance(stage, nn.Module) else stage() for stage in stages]
        self.levels = _checked(levels, self.tasks, len(built))
        self.stages = nn.ModuleList(built)
        self.heads = heads_of_stages(self.task_objects, built, levels=self.levels, heads=heads, example=example)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self.represent_each([inputs] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        values = list(parts)
        levels = [self.levels[index] for index in indices]
        for depth, stage in enumerate(self.stages):
            going = [position for position, level in enumerate(levels) if level >= depth]
            if not going:
                break
            for position, output in zip(going, run_together(stage, [values[p] for p in going]), strict=True):
                values[position] = output
        return values

    def _n_shared(self) -> int:
        """Number of stages that two or more tasks reach; all that are read, for a single task."""
        ordered = sorted(self.levels)
        return ordered[-2] + 1 if len(ordered) > 1 else ordered[-1] + 1

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The stages up to the second highest level."""
        return trainable(*self.stages[: self._n_shared()])

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The head, and for the task at the highest level the stages that only it reaches."""
        index = self.position(task)
        return trainable(*self.stages[self._n_shared() : self.levels[index] + 1], self.heads[index])

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(*self.stages[: self.levels[index] + 1], self.heads[index])

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and the level of every task."""
        return {**super().describe(), "levels": dict(zip(self.tasks, self.levels, strict=True))}

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        level: int | None = None,
        head: nn.Module | None = None,
        example: Any = None,
    ) -> Self:
        """A new model with one more head.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the stages, ``"none"`` nothing.
            level: index of the stage that it reads; default the last.
            head: head of the new task; default by kind.
            example: sample input of that stage, only needed when it does not say its ``out_features``.
        """
        place = len(self.stages) - 1 if level is None else level
        if not 0 <= place < len(self.stages):
            raise TaskError(
                f"level {place} of task {task.name!r} is not there; the stages are 0 to {len(self.stages) - 1}"
            )
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            freeze_module(model.stages)
        model.levels = (*self.levels, place)
        others = Parallel([head for head, other in zip(self.heads, self.levels, strict=True) if other == place])
        model.heads.append(build_head(task, model.stages[place], others=others, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        self.levels = (*self.levels[:index], *self.levels[index + 1 :])
        del self.stages[max(self.levels) + 1 :]


def _checked(levels: Mapping[str, int], tasks: Sequence[str], n_stages: int) -> tuple[int, ...]:
    if set(levels) != set(tasks):
        raise TaskError(f"levels are for {sorted(levels)}, the tasks are {sorted(tasks)}; give one level per task")
    for task, level in levels.items():
        if not 0 <= level < n_stages:
            raise TaskError(f"level {level} of task {task!r} is not there; the stages are 0 to {n_stages - 1}")
    top = max(levels.values())
    if top < n_stages - 1:
        raise TaskError(f"no task reads stages {top + 1} to {n_stages - 1}; leave them out, or raise a level")
    return tuple(levels[task] for task in tasks)
