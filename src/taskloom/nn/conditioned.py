"""One network for all tasks that is told the task: conditions at the input or behind any stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, overload

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import computes_together, couples_rows, run_together
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn.conditions.base import Condition
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.heads.form import check_one_form
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["Conditioned"]


class Conditioned(MultiTaskModel):
    """One common network that knows which task a row belongs to, with one common head if the tasks allow it.

    Made for several data sets of one question (schools, patients, languages): every row has one task. The condition
    decides how much the tasks may differ: a bias per task (one-hot or embedding concat), open and closed features
    (gate), or a scale and a shift of every feature (FiLM).

        u_0 = x,   u_l = stage_l(condition_(l-1)(u_(l-1), t)),   y_t = head(condition_L(u_L, t))

    Args:
        encoder: any module. An ``nn.Sequential`` (such as MLP) has its children as stages, any other module is one
            stage. A concat at a place widens the input of what reads it; build the encoder accordingly.
        tasks: the tasks.
        condition: a :class:`Condition` for the input, or a mapping place -> Condition: place 0 is the input, place l is
            behind stage l, place L (the number of stages) is before the head.
        head: a common head for all tasks; default: a linear layer if all tasks have the same kind.
        heads: task name -> head, for one head per task; default when the kinds differ.
        example: sample input of the whole model, only needed when the encoder does not say its ``out_features``; with
            conditions at the last place give head or heads instead.

    Raises:
        TaskError: a place that does not exist, a condition for fewer tasks, both head and heads, or a common head for
            tasks of different output form.

    Cost:
        one encoder; with one input for all tasks the stages from the first condition on are computed once per task.

    Differs from the paper:
        FiLM is generated from a task vector; in the paper from a question.

    Source:
        E. Perez et al., FiLM: Visual Reasoning with a General Conditioning Layer, AAAI 2018, arXiv:1709.07871;
        one-hot and embedding conditions are folklore.

    Example:
        >>> import torch
        >>> from taskloom.nn import FiLM, MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="school 1", kind=Regression()), Task(name="school 2", kind=Regression())]
        >>> model = Conditioned(MLP(4, (8,)), tasks, condition={1: FiLM(2, 8)})
        >>> model(torch.zeros(3, 4))["school 2"].shape
        torch.Size([3, 1])
        >>> model(torch.zeros(3, 4), task_ids=torch.tensor([0, 1, 1])).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        encoder: nn.Module,
        tasks: Sequence[Task],
        *,
        condition: Condition | Mapping[int, Condition],
        head: nn.Module | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        self.encoder = encoder
        n_stages = len(self._stages())
        conditions = {0: condition} if isinstance(condition, Condition) else dict(condition)
        _check_conditions(conditions, n_stages, len(self.tasks))
        self.places = tuple(sorted(conditions))
        self.conditions = nn.ModuleList([conditions[place] for place in self.places])
        if head is not None and heads is not None:
            raise TaskError("give head (one for all tasks) or heads (one per task), not both")
        same_kind = all(task.kind == self.task_objects[0].kind for task in self.task_objects)
        self.has_common_head = heads is None and (head is not None or same_kind)
        if self.has_common_head:
            check_one_form(self.task_objects, architecture="Conditioned with a common head")
            heads = None if head is None else {self.tasks[0]: head}
        self.heads = build_heads(
            self.task_objects[:1] if self.has_common_head else self.task_objects, encoder, heads=heads, example=example
        )

    @overload
    def forward(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]: ...

    @overload
    def forward(self, inputs: Any, tasks: None = None, *, task_ids: Tensor) -> Tensor: ...

    def forward(
        self, inputs: Any, tasks: Sequence[str] | None = None, *, task_ids: Tensor | None = None
    ) -> dict[str, Tensor] | Tensor:
        """Outputs of the tasks asked for; with ``task_ids`` one output row per input row.

        Args:
            inputs: one input for all tasks, or a mapping task name -> input.
            tasks: names of the tasks asked for; default all.
            task_ids: (n,) int64, the index of each row's task; needs a common head.

        Raises:
            TaskError: ``task_ids`` with one head per task, together with ``tasks``, or out of range.
        """
        if task_ids is None:
            return super().forward(inputs, tasks)
        if tasks is not None:
            raise TaskError("give tasks (one input for all) or task_ids (one task per row), not both")
        if not self.has_common_head:
            raise TaskError("task_ids needs one common head, but this model has one head per task; pass head=")
        if not torch.compiler.is_compiling() and task_ids.numel() > 0:
            low, high = int(task_ids.min()), int(task_ids.max())
            if low < 0 or high >= len(self.tasks):
                raise TaskError(
                    f"task_ids must lie in 0..{len(self.tasks) - 1}, found {low}..{high}; they are indices into tasks"
                )
        features = self._run(inputs, range(len(self.tasks)), task_ids, start=0)
        output: Tensor = self.heads[0](features)
        return output

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        stages, first = self._stages(), self.places[0]
        hidden = inputs
        for stage in stages[:first]:  # no condition yet: the same for all tasks
            hidden = stage(hidden)
        return self._run_parts([hidden] * len(indices), indices, start=first)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._run_parts(list(parts), indices, start=0)

    def _run_parts(self, parts: list[Any], indices: Sequence[int], *, start: int) -> list[Any]:
        together = len(parts) > 1 and computes_together(self) and not couples_rows(self.encoder)
        if not together or any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            return [self._run_one(part, index, start=start) for part, index in zip(parts, indices, strict=True)]
        sizes = [part.shape[0] for part in parts]
        positions = torch.arange(len(parts), device=parts[0].device)
        rows = torch.repeat_interleave(positions, torch.tensor(sizes, device=parts[0].device), output_size=sum(sizes))
        return list(torch.split(self._run(torch.cat(parts), indices, rows, start=start), sizes))

    def _run_one(self, part: Any, index: int, *, start: int) -> Any:
        rows = torch.zeros(part.shape[0], dtype=torch.int64, device=part.device)
        return self._run(part, (index,), rows, start=start)

    def _run(self, hidden: Any, members: Sequence[int], rows: Tensor, *, start: int) -> Any:
        conditions = dict(zip(self.places, self._conditions(), strict=True))
        return _conditioned(hidden, self._stages(), conditions, members, rows, start=start)

    def _stages(self) -> list[nn.Module]:
        return _stages(self.encoder)

    def decide(self, features: Sequence[Any], indices: Sequence[int]) -> list[Tensor]:
        return run_together(self.heads[0], features) if self.has_common_head else super().decide(features, indices)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder, the shared part of the conditions, and a common head."""
        conditions = [parameter for part in self._conditions() for parameter in part.shared_parameters()]
        return trainable(self.encoder, *conditions, *([self.heads[0]] if self.has_common_head else []))

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The vectors of the task in the conditions, and its own head."""
        index = self.position(task)
        vectors = [parameter for part in self._conditions() for parameter in part.task_parameters(index)]
        return trainable(*vectors, *([] if self.has_common_head else [self.heads[index]]))

    def _conditions(self) -> Iterator[Condition]:
        for condition in self.conditions:
            assert isinstance(condition, Condition)
            yield condition

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        conditions = [condition.only(index) for condition in self._conditions()]
        return _TaskPath(self.encoder, self.places, conditions, self.heads[0 if self.has_common_head else index])

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task vector per condition, and one more head if there is one per task.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` all but the task vectors and heads.
            head: head of the new task, where each task has its own; default by kind.
            example: sample input, only needed when no existing head is linear and the encoder does not say its width.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            freeze_module(model.encoder)
            for parameter in list(model.shared_parameters()):
                parameter.requires_grad_(False)
        for condition in model._conditions():
            condition.add_task(len(model.tasks))
        if model.has_common_head:
            check_one_form(model.task_objects, architecture="Conditioned with a common head")
        else:
            model.heads.append(build_head(task, model.encoder, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        for condition in self._conditions():
            condition.forget(index)
        if not self.has_common_head:
            super().forget(index)


def _check_conditions(conditions: Mapping[int, Condition], n_stages: int, n_tasks: int) -> None:
    if not conditions:
        raise TaskError("Conditioned needs at least one condition; use Pooled for a network that ignores the task")
    for place, condition in conditions.items():
        if not 0 <= place <= n_stages:
            raise TaskError(f"condition at place {place}, but the encoder has places 0 (input) to {n_stages}")
        if condition.n_tasks < n_tasks or (condition.width and condition.n_tasks > n_tasks):
            raise TaskError(f"the condition at place {place} is for {condition.n_tasks} tasks, the model has {n_tasks}")


def _stages(encoder: nn.Module) -> list[nn.Module]:
    is_plain = type(encoder).forward is nn.Sequential.forward
    return list(encoder.children()) if is_plain else [encoder]


def _conditioned(
    hidden: Any,
    stages: Sequence[nn.Module],
    conditions: Mapping[int, nn.Module],
    members: Sequence[int],
    rows: Tensor,
    *,
    start: int,
) -> Any:
    """Run the stages from a place on, with the conditions between them."""
    for place in range(start, len(stages) + 1):
        if place in conditions:
            hidden = conditions[place](hidden, members, rows)
        if place < len(stages):
            hidden = stages[place](hidden)
    return hidden


class _TaskPath(nn.Module):
    """The network of one task of a conditioned model: encoder, conditions of that task, head."""

    def __init__(
        self, encoder: nn.Module, places: Sequence[int], conditions: Sequence[Condition], head: nn.Module
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.places = tuple(places)
        self.conditions = nn.ModuleList(conditions)
        self.head = head

    def forward(self, inputs: Any) -> Any:
        hidden, stages = inputs, _stages(self.encoder)
        for stage in stages[: self.places[0]]:
            hidden = stage(hidden)
        rows = torch.zeros(hidden.shape[0], dtype=torch.int64, device=hidden.device)
        conditions = dict(zip(self.places, self.conditions, strict=True))
        return self.head(_conditioned(hidden, stages, conditions, (0,), rows, start=self.places[0]))
