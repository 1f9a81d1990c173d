"""The cascade of the joint many-task model: every task's stage reads the stages and the predicted labels below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._grow import grown
from taskloom.nn._label_embedding import LabelEmbedding
from taskloom.nn._snapshot import Snapshot
from taskloom.nn._staged_heads import heads_of_stages
from taskloom.nn.heads.default import build_head
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["Cascade"]


class Cascade(MultiTaskModel):
    """Tasks in order of difficulty, one stage each; a stage reads the one below, the input, and labels predicted below.

    For chains of tasks that build on each other: part of speech, chunks, dependencies, relatedness, entailment.

        h^k = stage_k([h^(k-1); x; y^1 + ... + y^(k-1)]),   y^j = sum_c p(c | h^j) e_c^j,   p = softmax(head_j(h^j))

    with e^j the label embedding of task j. Parts are joined on the last axis, for features (n, D) and tokens (n, N, D)
    alike.

    Successive regularisation keeps what lower tasks have learned while a higher one trains: with ``sub_epochs`` the
    tasks train in turn, one epoch each, and while task k does, ``strength * ||theta - theta'||^2`` holds all that lies
    below at theta', its value at the end of the previous turn.

    Args:
        stages: one stage per task, lowest first, modules or functions that build one. Stage k must accept the width of
            stage k-1, plus that of the input with ``shortcut``, plus the label embeddings of the tasks below.
        tasks: the tasks, lowest first.
        inputs: module that makes x of the inputs, such as a word embedding; default none.
        label_embeddings: width d of the label embeddings of tasks with classes, task -> d; all widths are equal with
            ``combine="sum"``. Tasks that are not named feed no labels upward. Default none.
        combine: ``"sum"`` or ``"concat"`` of several label embeddings; default ``"sum"``.
        shortcut: give x to every stage; default True.
        detach_labels: keep the gradient of higher tasks from the heads below; default False.
        sub_epochs: number of turns in which every task trains for one epoch; default None, all tasks in every step.
        head_strength: strength of the successive regularisation of heads below; default 1e-2, the paper's.
        strength: that of everything else below; default 1e-3, the paper's.
        heads: task name -> head module; default a linear layer by kind of task.

    Raises:
        TaskError: as many stages as tasks are needed; label embeddings of a task without classes, of the highest or an
            unknown task, or of different widths with ``combine="sum"``.

    Cost:
        stages and heads up to the highest task asked for; a copy of the parameters with ``sub_epochs``.

    Differs from the paper:
        x is not part of the regularisation while the first task trains unless ``inputs`` makes it; the pairing of two
        sentences is left to the user's stages and heads.

    Source:
        K. Hashimoto, C. Xiong, Y. Tsuruoka, R. Socher, A Joint Many-Task Model: Growing a Neural Network for Multiple
        NLP Tasks, EMNLP 2017, arXiv:1611.01587.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Multiclass, Regression
        >>> tasks = [Task(name="tag", kind=Multiclass(5)), Task(name="score", kind=Regression())]
        >>> stages = [MLP(4, (8,)), MLP(8 + 4 + 3, (6,))]
        >>> model = Cascade(stages, tasks, label_embeddings={"tag": 3})
        >>> {task: tuple(output.shape) for task, output in model(torch.zeros(2, 4)).items()}
        {'tag': (2, 5), 'score': (2, 1)}
    """

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        inputs: nn.Module | None = None,
        label_embeddings: Mapping[str, int] | None = None,
        combine: str = "sum",
        shortcut: bool = True,
        detach_labels: bool = False,
        sub_epochs: int | None = None,
        head_strength: float = 1e-2,
        strength: float = 1e-3,
        heads: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__(tasks)
        built = [stage if isinstance(stage, nn.Module) else stage() for stage in stages]
        if len(built) != len(self.tasks):
            raise TaskError(f"found {len(built)} stages for {len(self.tasks)} tasks; give one stage per task")
        if sub_epochs is not None and sub_epochs < 1:
            raise TaskError(f"sub_epochs must be 1 or more, found {sub_epochs!r}")
        widths = dict(label_embeddings or {})
        _check_embeddings(widths, self.task_objects, combine)
        self.combine, self.shortcut, self.detach_labels = combine, shortcut, detach_labels
        self.sub_epochs = sub_epochs
        self.inputs = inputs if inputs is not None else nn.Identity()
        self.stages = nn.ModuleList(built)
        self.labels = nn.ModuleList(
            LabelEmbedding(task.kind, widths[task.name]) if task.name in widths else nn.Identity()
            for task in self.task_objects
        )
        levels = range(len(built))
        self.heads = heads_of_stages(self.task_objects, built, levels=levels, heads=heads, example=None)
        self.snapshot = Snapshot()
        self._strengths = (head_strength, strength)
        if sub_epochs is not None:
            self.snapshot.take(self._lower(len(self.tasks)))

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        states = _climb(self, inputs, max(indices))
        return [states[index] for index in indices]

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return [_climb(self, part, index)[-1] for part, index in zip(parts, indices, strict=True)]

    # ---------------------------------------------------------------- who owns what

    def _owners(self) -> Iterator[tuple[nn.Module, range]]:
        """Every module with the tasks whose losses reach it."""
        n_tasks = len(self.tasks)
        yield self.inputs, range(n_tasks)
        for depth, (stage, label, head) in enumerate(zip(self.stages, self.labels, self.heads, strict=True)):
            feeds = isinstance(label, LabelEmbedding) and not self.detach_labels
            yield stage, range(depth, n_tasks)
            yield label, range(depth + 1, n_tasks)
            yield head, range(depth, n_tasks if feeds else depth + 1)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Lower stages, and lower heads and label embeddings that higher tasks read; the stage of a single task."""
        if len(self.tasks) == 1:
            return trainable(self.inputs, self.stages[0])
        return trainable(*(module for module, tasks in self._owners() if len(tasks) > 1))

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The top stage, and heads and label embeddings that only this task reaches."""
        index = self.position(task)
        if len(self.tasks) == 1:
            return trainable(self.heads[0])
        return trainable(*(module for module, tasks in self._owners() if list(tasks) == [index]))

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))

    # ---------------------------------------------------------------- successive regularisation

    def _lower(self, n_below: int) -> dict[str, nn.Parameter]:
        """What lies below the stage with this index: name -> parameter."""
        parts: dict[str, nn.Module] = {"inputs": self.inputs}
        for depth in range(n_below):
            parts |= {f"stage {depth}": self.stages[depth], f"labels {depth}": self.labels[depth]}
            parts[f"head {depth}"] = self.heads[depth]
        return {
            f"{place} {name}": parameter
            for place, part in parts.items()
            for name, parameter in part.named_parameters()
            if parameter.requires_grad
        }

    def penalties(self) -> dict[str, Tensor]:
        """``{"successive": scalar}`` while the tasks train in turn."""
        below = self.snapshot.task
        if below < 0:
            return {}
        heads, others = self._strengths
        strengths = {name: heads if name.startswith("head ") else others for name in self._lower(below)}
        return {"successive": self.snapshot.distance(self._lower(below), strengths)}

    def phases(self) -> Iterator[Phase]:
        """One phase for all tasks; with ``sub_epochs`` one epoch of every task in turn, as often as that says."""
        if self.sub_epochs is None:
            yield from super().phases()
            return
        for turn in range(self.sub_epochs):
            for index, task in enumerate(self.tasks):
                yield Phase(
                    name=f"{task}, turn {turn + 1}",
                    epochs=1,
                    tasks=(task,),
                    on_enter=partial(self._begin, index),
                    on_exit=partial(self._begin, -1),
                )

    def _begin(self, task: int) -> None:
        if task >= 0:
            self.snapshot.take(self._lower(len(self.tasks)))
        self.snapshot.task = task

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and which tasks feed their labels upward."""
        fed = [task for task, label in zip(self.tasks, self.labels, strict=True) if isinstance(label, LabelEmbedding)]
        return {**super().describe(), "label_embeddings": fed}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", stage: nn.Module | None = None, head: nn.Module | None = None
    ) -> Self:
        """A new model with one more task on top.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the stages and the inputs' module.
            stage: its stage (needed), which reads the state of the task below, the input with a shortcut, and labels.
            head: head of the new task; default by kind.

        Raises:
            TaskError: no stage is given.
        """
        if stage is None:
            raise TaskError(f"give stage= for task {task.name!r}: its width depends on what it reads")
        model = grown(self, task, freeze=freeze, shared=("inputs", "stages"))
        model.stages.append(stage)
        model.labels.append(nn.Identity())
        model.heads.append(build_head(task, stage, others=Parallel(), head=head))
        if self.sub_epochs is not None:
            model.snapshot.take(model._lower(len(model.tasks)))
        return model

    def forget(self, index: int) -> None:
        """Only the highest task can go: the stages above another one read its state."""
        if index != len(self.tasks) - 1:
            raise TaskError(
                f"task {self.tasks[index]!r} feeds the stages above it and cannot be removed; only the highest task, "
                f"{self.tasks[-1]!r}, can"
            )
        super().forget(index)
        del self.stages[index], self.labels[index]
        self.labels[-1] = nn.Identity()
        self.snapshot.forget()
        if self.sub_epochs is not None:
            self.snapshot.take(self._lower(index))


def _climb(parts: Any, inputs: Any, last: int) -> list[Tensor]:
    """States of the stages up to one, of a cascade or of the path of one task."""
    x = parts.inputs(inputs)
    if not isinstance(x, Tensor):
        raise TaskError(f"Cascade joins tensors, its input is a {type(x).__name__}; give inputs= to make one of it")
    states: list[Tensor] = []
    labels: list[Tensor] = []
    for depth in range(last + 1):
        read = [states[-1]] if states else [x]
        if states and parts.shortcut:
            read.append(x)
        if labels:
            read.append(sum(labels[1:], start=labels[0]) if parts.combine == "sum" else torch.cat(labels, dim=-1))
        states.append(parts.stages[depth](torch.cat(read, dim=-1) if len(read) > 1 else read[0]))
        label = parts.labels[depth]
        if depth < last and isinstance(label, LabelEmbedding):
            scores = parts.heads[depth](states[-1])
            labels.append(label(scores.detach() if parts.detach_labels else scores))
    return states


class _Path(nn.Module):
    """What one task needs: the stages up to its own, with the heads and label embeddings that feed them."""

    def __init__(self, model: Cascade, index: int) -> None:
        super().__init__()
        self.combine, self.shortcut, self.detach_labels = model.combine, model.shortcut, model.detach_labels
        self.inputs = model.inputs
        self.stages = model.stages[: index + 1]
        self.labels = nn.ModuleList([*model.labels[:index], nn.Identity()])
        fed = (isinstance(label, LabelEmbedding) for label in self.labels)
        below = (head if feeds else nn.Identity() for head, feeds in zip(model.heads[:index], fed, strict=False))
        self.heads = nn.ModuleList([*below, model.heads[index]])

    def forward(self, inputs: Any) -> Tensor:
        output: Tensor = self.heads[-1](_climb(self, inputs, len(self.stages) - 1)[-1])
        return output


def _check_embeddings(widths: Mapping[str, int], tasks: Sequence[Task], combine: str) -> None:
    if combine not in ("sum", "concat"):
        raise TaskError(f"combine must be 'sum' or 'concat', found {combine!r}")
    kinds = {task.name: task.kind for task in tasks}
    for task, width in widths.items():
        if task not in kinds:
            raise TaskError(f"label_embeddings: unknown task {task!r}; the tasks are {list(kinds)}")
        if not kinds[task].n_classes:
            raise TaskError(
                f"label_embeddings: task {task!r} has no classes, so it has no labels to embed; leave it out"
            )
        if task == tasks[-1].name:
            raise TaskError(f"label_embeddings: nobody reads the labels of the highest task, {task!r}; leave it out")
        if width < 1:
            raise TaskError(f"label_embeddings: task {task!r} has width {width}; expected 1 or more")
    if combine == "sum" and len(set(widths.values())) > 1:
        raise TaskError(f"label_embeddings have the widths {dict(widths)}; equal widths can be summed, or use 'concat'")
