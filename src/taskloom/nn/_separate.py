"""What independent networks and soft sharing have in common: one encoder and one head per task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch import nn

from taskloom.nn._grow import add_copy, grown
from taskloom.nn.adapters import build_copies
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["SeparateEncoders"]


class SeparateEncoders(MultiTaskModel):
    """One encoder and one head per task: ``y_t = head_t(f_t(x))``."""

    def __init__(
        self,
        encoder: nn.Module | Callable[[], nn.Module],
        tasks: Sequence[Task],
        *,
        same_start: bool,
        heads: Mapping[str, nn.Module] | None,
        example: Any,
    ) -> None:
        super().__init__(tasks)
        self.encoders = build_copies(encoder, len(self.tasks), same=same_start)
        self.heads = build_heads(self.task_objects, self.encoders[0], heads=heads, example=example)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self.encoders.run_same(inputs, members=indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self.encoders.run(parts, members=indices)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """None: no parameter is reached by the losses of two tasks."""
        return iter(())

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The encoder and the head of the task."""
        index = self.position(task)
        return trainable(self.encoders[index], self.heads[index])

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(self.encoders[index], self.heads[index])

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task, which gets a newly drawn encoder and head.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes all old networks; ``"shared"`` and ``"none"`` freeze nothing here.
            head: head of the new task; default by kind.
            example: sample input, only needed when the encoder does not say its ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=())
        add_copy(model.encoders)
        model.heads.append(build_head(task, model.encoders[-1], others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        del self.encoders[index]
