"""The contract that every architecture fulfils."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._draws import same_draws
from taskloom.nn._grow import shrunk
from taskloom.nn._inputs import read_request
from taskloom.nn._reset import reset_weights
from taskloom.nn.cut import NoCommonFeature
from taskloom.nn.parallel import Parallel
from taskloom.nn.phase import Phase
from taskloom.task import Task, check_tasks

__all__ = ["Freeze", "MultiTaskModel", "trainable"]

Freeze = Literal["old", "shared", "none"]


def trainable(*parts: nn.Module | nn.Parameter | None) -> Iterator[nn.Parameter]:
    """Parameters of modules (and bare parameters) that require a gradient; frozen ones belong to no group."""
    for part in parts:
        parameters = [] if part is None else part.parameters() if isinstance(part, nn.Module) else [part]
        yield from (parameter for parameter in parameters if parameter.requires_grad)


class MultiTaskModel(nn.Module):
    """A network for several tasks. Outputs are ``heads(features)``.

    A subclass builds ``self.heads`` and writes :meth:`represent`, :meth:`represent_each`, :meth:`shared_parameters` and
    :meth:`task_parameters`. Shared, task, structure and coupling parameters are a partition of the trainable ones.

    Args:
        tasks: the tasks; their order is the order of all results.

    Raises:
        TaskError: no task, or two tasks with one name.

    Example:
        >>> import torch
        >>> from taskloom.nn import HardSharing, MLP
        >>> from taskloom.task import Regression
        >>> model = HardSharing(MLP(4), [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())])
        >>> {task: tuple(output.shape) for task, output in model(torch.zeros(3, 4)).items()}
        {'a': (3, 1), 'b': (3, 1)}
    """

    has_cut: bool = False
    has_batch_penalties: bool = False  # whether penalties look at the batch of the last forward pass
    heads: Parallel

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.task_objects = check_tasks(tasks)
        self.tasks: tuple[str, ...] = tuple(task.name for task in self.task_objects)
        self._positions = {name: index for index, name in enumerate(self.tasks)}

    def forward(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs (n, n_outputs) of the tasks asked for, in model order.

        Args:
            inputs: one input for all tasks, or a mapping task name -> input of that task.
            tasks: names of the tasks asked for; default all (all of the mapping).
        """
        features = self.features(inputs, tasks)
        outputs = self.decide(list(features.values()), [self._positions[name] for name in features])
        return dict(zip(features, outputs, strict=True))

    def features(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """What the heads read: task name -> features."""
        request = read_request(inputs, tasks, self._positions)
        if request.parts is None:
            found = self.represent(inputs, request.indices)
        else:
            found = self.represent_each(request.parts, request.indices)
        return dict(zip(request.names, found, strict=True))

    def iter_tasks(self, inputs: Any, tasks: Sequence[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """Outputs task by task, each computed when it is asked for, with a graph of its own.

        The loss of a task can go backward before the next task is computed, so that memory holds one task: for losses
        whose weights do not depend on each other. All tasks see the random numbers that the first one draws, as they do
        in one forward pass. What tasks share is computed once per task; batch normalisation counts every pass.

        Args:
            inputs: as for :meth:`forward`.
            tasks: as for :meth:`forward`.

        Yields:
            name and outputs of one task after the other, in model order.

        Raises:
            TaskError: in training, a model whose penalties look at all tasks of a forward pass.
        """
        if self.training and self.has_batch_penalties:
            raise TaskError(
                f"penalties of this {type(self).__name__} look at all tasks of a forward pass, and iter_tasks has one "
                "pass per task; call the model"
            )
        request = read_request(inputs, tasks, self._positions)
        for name, draws in zip(request.names, same_draws(self), strict=False):
            with draws:
                output = self(inputs if request.parts is None else {name: inputs[name]}, [name])[name]
            yield name, output

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        """Features of the tasks with these indices, all from one input."""
        raise NotImplementedError

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        """Features of the tasks with these indices, each from its own input."""
        raise NotImplementedError

    def decide(self, features: Sequence[Any], indices: Sequence[int]) -> list[Tensor]:
        """Outputs of the heads with these indices."""
        return self.heads.run(features, members=indices)

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """The cut: all that the shared parameters contribute (one tensor, or one per task of a mapping)."""
        raise NoCommonFeature(
            f"{type(self).__name__} has no feature tensor that all shared parameters feed; use parameter gradients"
        )

    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs from the cut; ``decode(encode(inputs, tasks), tasks) == forward(inputs, tasks)``."""
        raise NoCommonFeature(
            f"{type(self).__name__} has no feature tensor that all shared parameters feed; use parameter gradients"
        )

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Trainable parameters that losses of two or more tasks can reach."""
        raise NotImplementedError

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Trainable parameters that only this task's loss can reach."""
        raise NotImplementedError

    def structure_parameters(self) -> Iterator[nn.Parameter]:
        """Logits that choose a structure; usually none."""
        return iter(())

    def coupling_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that only a penalty reaches; usually none."""
        return iter(())

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Groups for an optimiser that hold every trainable parameter once; :func:`taskloom.fit` trains with them.

        Most architectures have one group; some have parts that learn at a rate of their own, or are not to be decayed.

        Args:
            lr: the learning rate.
            weight_decay: the weight decay; default 0.

        Returns:
            dictionaries with "params", "lr" and "weight_decay"; the first with the values given.
        """
        return [{"params": list(trainable(self)), "lr": lr, "weight_decay": weight_decay}]

    def penalties(self) -> dict[str, Tensor]:
        """Named, weighted, differentiable scalars to add once to the objective, outside all balancing."""
        return {}

    def penalty(self) -> Tensor:
        """Sum of the penalties; a zero on the model's device when there are none."""
        values = list(self.penalties().values())
        if not values:
            return next(self.parameters()).new_zeros(())
        return sum(values[1:], start=values[0])

    def phases(self) -> Iterator[Phase]:
        """How to train: one phase that trains everything."""
        yield Phase(name="train")

    def derive(self) -> MultiTaskModel:
        """The model with its learned discrete structure frozen; itself where no structure is learned."""
        return self

    def structure(self) -> Any:
        """The chosen discrete structure as plain data that JSON can hold; None where there is none."""
        return None

    def with_structure(self, structure: Any) -> MultiTaskModel:
        """The network that :meth:`derive` gives for a structure, whatever was learned; its weights do not matter."""
        raise NotImplementedError(f"{type(self).__name__} has no discrete structure")

    def reset_weights(self) -> None:
        """Draw new weights for all that ``reset_parameters`` covers; logits of a structure stay as they are.

        Raises:
            TaskError: shared or task parameters that no ``reset_parameters`` covers.
        """
        reset_weights(self)

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use: a plain module inputs -> outputs of one task, or the whole model in evaluation mode."""
        if task is None:
            return copy.deepcopy(self).eval()
        return copy.deepcopy(self.path(task)).eval()

    def path(self, task: str) -> nn.Module:
        """The modules (not copied) that compute one task, as one module."""
        raise NotImplementedError

    def add_task(self, task: Task, *, freeze: Freeze = "none") -> Self:
        """A new model with one more task; ``freeze`` says which of the old parameters stay as they are.

        Raises:
            TaskError: a task of this name exists, or the architecture cannot take tasks in.
        """
        raise TaskError(f"{type(self).__name__} cannot take the task {task.name!r} in; build it anew for all tasks")

    def remove_task(self, task: str) -> Self:
        """A new model without a task; the answers for the others stay as they are.

        Raises:
            TaskError: the model has no such task, or no other.
        """
        return shrunk(self, task)

    def forget(self, index: int) -> None:
        """Drop, in place, what only the task with this index needs; :meth:`remove_task` does that to a copy.

        ``self.tasks`` still has the task. An architecture with more parts per task than heads drops those too.
        """
        if len(self.heads) == len(self.tasks):
            del self.heads[index]

    def position(self, task: str) -> int:
        """Index of a task; raises UnknownTask."""
        return read_request(None, [task], self._positions).indices[0]

    def describe(self) -> dict[str, Any]:
        """Counts of parameters: total, shared, structure, coupling, and on the path of each task."""
        count = {group: sum(p.numel() for p in getattr(self, f"{group}_parameters")()) for group in _GROUPS}
        own = {task: sum(p.numel() for p in self.task_parameters(task)) for task in self.tasks}
        total = sum(parameter.numel() for parameter in self.parameters())
        paths = {task: sum(p.numel() for p in self.path(task).parameters()) for task in self.tasks}
        return {"architecture": type(self).__name__, "total": total, **count, "task": own, "path": paths}


_GROUPS = ("shared", "structure", "coupling")
