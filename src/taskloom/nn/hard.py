"""Hard parameter sharing: one encoder for all tasks, one head per task: ``y_t = head_t(f(x))``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.nn._batching import run_together
from taskloom.nn._grow import grown
from taskloom.nn._inputs import read_request
from taskloom.nn.fork import fork
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["HardSharing"]


class HardSharing(MultiTaskModel):
    """One common encoder, one head per task. The simplest and most used way to learn tasks together.

    Use it first. It helps when the tasks need similar features and hurts when they compete for the encoder's capacity.

        y_t = head_t(f(x))

    The encoder is evaluated once per batch. When each task brings its own batch, the rows are concatenated for that; an
    encoder with batch normalisation in training mode is run on each batch separately, since its output for a row
    depends on the other rows. (An encoder of your own that mixes rows in another way should get one input for all.)

    Args:
        encoder: any module; its output may be anything the heads accept.
        tasks: the tasks.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: heads do not match the tasks, or the width of the features is not known.

    Cost:
        one encoder and K heads.

    Differs from the paper:
        nothing.

    Source:
        R. Caruana, Multitask Learning: A Knowledge-Based Source of Inductive Bias, ICML 1993; Multitask Learning,
        Machine Learning 28, 1997.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Binary, Regression
        >>> model = HardSharing(MLP(4), [Task(name="price", kind=Regression()), Task(name="sold", kind=Binary())])
        >>> model(torch.zeros(3, 4), tasks=["sold"])["sold"].shape
        torch.Size([3, 1])
    """

    has_cut: bool = True

    def __init__(
        self,
        encoder: nn.Module,
        tasks: Sequence[Task],
        *,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        self.encoder = encoder
        self.heads = build_heads(self.task_objects, encoder, heads=heads, example=example)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._fork([self.encoder(inputs)] * len(indices), indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return self._fork(run_together(self.encoder, parts), indices)

    def _fork(self, features: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return [fork(part, self.tasks[index]) for part, index in zip(features, indices, strict=True)]

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """Output of the encoder: one for all tasks, or one per task when each brings its own input."""
        request = read_request(inputs, tasks, self._positions)
        if request.parts is None:
            return (self.encoder(inputs),)
        return tuple(run_together(self.encoder, request.parts))

    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs of the heads; the tasks of an encoded mapping must be named, in model order."""
        request = read_request(None, tasks, self._positions)
        features = list(cut) * len(request.names) if len(cut) == 1 else list(cut)
        return dict(zip(request.names, self.decide(features, request.indices), strict=True))

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The encoder."""
        return trainable(self.encoder)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The head of the task."""
        return trainable(self.heads[self.position(task)])

    def path(self, task: str) -> nn.Module:
        return nn.Sequential(self.encoder, self.heads[self.position(task)])

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more head.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes the encoder and the old heads, ``"shared"`` the encoder, ``"none"`` nothing.
            head: head of the new task; default by kind.
            example: sample input, only needed when the encoder does not say its ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=("encoder",))
        model.heads.append(build_head(task, model.encoder, others=self.heads, head=head, example=example))
        return model
