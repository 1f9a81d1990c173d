"""One network with one head for all tasks, which does not know the task: ``y_t = head(f(x))``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.nn._batching import run_together
from taskloom.nn._grow import grown
from taskloom.nn.heads.default import build_heads
from taskloom.nn.heads.form import check_one_form
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.task import Task

__all__ = ["Pooled"]


class Pooled(MultiTaskModel):
    """One network, one head; the rows of all tasks are treated as one data set and the task is ignored.

        y_t = head(f(x))

    The other extreme from independent networks. Sensible when each row belongs to one task and the tasks differ little;
    with several targets per row it predicts one value for all of them.

    Args:
        encoder: any module.
        tasks: the tasks; all of one output form.
        head: the common head; default a linear layer by kind of task.
        example: sample input, only needed when the encoder does not say its ``out_features``.

    Raises:
        TaskError: the tasks have different output forms.

    Cost:
        one network.

    Differs from the paper:
        nothing.

    Source:
        pooling is the common baseline of multi-domain learning; for example M. Joshi, M. Dredze, W. Cohen, C. Rose,
        Multi-Domain Learning: When Do Domains Matter?, EMNLP-CoNLL 2012.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> model = Pooled(MLP(4), [Task(name="school 1", kind=Regression()), Task(name="school 2", kind=Regression())])
        >>> outputs = model(torch.zeros(3, 4))
        >>> torch.equal(outputs["school 1"], outputs["school 2"])
        True
    """

    def __init__(
        self, encoder: nn.Module, tasks: Sequence[Task], *, head: nn.Module | None = None, example: Any = None
    ) -> None:
        super().__init__(tasks)
        check_one_form(self.task_objects, architecture="Pooled")
        self.encoder = encoder
        heads = None if head is None else {self.tasks[0]: head}
        self.heads: Parallel = build_heads(self.task_objects[:1], encoder, heads=heads, example=example)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return [self.encoder(inputs)] * len(indices)

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return run_together(self.encoder, parts)

    def decide(self, features: Sequence[Any], indices: Sequence[int]) -> list[Tensor]:
        return run_together(self.heads[0], features)

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Everything."""
        return trainable(self)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """None: every parameter is common."""
        self.position(task)
        return iter(())

    def path(self, task: str) -> nn.Module:
        self.position(task)
        return nn.Sequential(self.encoder, self.heads[0])

    def add_task(self, task: Task, *, freeze: Freeze = "none") -> Self:
        """A new model that answers for one more task, by the same network; only ``freeze`` makes a difference."""
        model = grown(self, task, freeze=freeze, shared=("encoder", "heads"))
        check_one_form(model.task_objects, architecture="Pooled")
        return model

    def forget(self, index: int) -> None:
        """Nothing: the network is common."""
