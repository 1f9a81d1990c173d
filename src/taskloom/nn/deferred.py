"""A model that is built at its first forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.model import MultiTaskModel
from taskloom.task import Task, check_tasks

__all__ = ["Deferred"]


class Deferred(MultiTaskModel):
    """A model whose sizes follow from the first input that it sees, and which becomes that model then.

    For inputs whose width or size is not known where the model is written down: a table that is encoded later, images
    of any size. At the first forward pass (or by :meth:`built`) the function is called with a sample, and this object
    becomes the model that it returns, class and all. :func:`taskloom.fit` builds it from the first rows of the data.

    Args:
        build: sample input -> the model, for the same tasks. The sample is the input of the first forward pass: the one
            for all tasks, or with one input per task that of the first task.
        tasks: the tasks.

    Raises:
        TaskError: parameters, groups or a state are asked for before it is built; the function returns no model of
            these tasks.

    Example:
        >>> from taskloom.nn import HardSharing, MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> model = Deferred(lambda example: HardSharing(MLP(example.shape[1], (8,)), tasks), tasks)
        >>> outputs = model(torch.zeros(3, 5))
        >>> type(model).__name__, model.encoder[0][0].in_features
        ('HardSharing', 5)
    """

    def __init__(self, build: Callable[[Any], MultiTaskModel], tasks: Sequence[Task]) -> None:
        super().__init__(check_tasks(tasks))
        self._build = build
        self._moves: list[Callable[[Any], Any]] = []

    def built(self, example: Any) -> Self:
        """This object, which is now the model for inputs of the form of a sample.

        Args:
            example: a sample input, or task name -> sample input.
        """
        if isinstance(example, Mapping) and example.keys() <= set(self.tasks) and example:
            example = next(example[task] for task in self.tasks if task in example)
        with torch.no_grad():
            model = self._build(example)
        if not isinstance(model, MultiTaskModel):
            raise TaskError(f"build must return a multi-task model, found {type(model).__name__}")
        if model.tasks != self.tasks:
            raise TaskError(f"build returned a model of {list(model.tasks)}, expected {list(self.tasks)}")
        for move in self._moves:
            model._apply(move)  # type: ignore[no-untyped-call]
        model.train(self.training)
        self.__class__ = type(model)  # type: ignore[assignment]
        self.__dict__ = model.__dict__
        return self

    def features(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """What the heads read; builds the model."""
        return self.built(inputs).features(inputs, tasks)

    def forward(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs of the tasks asked for; builds the model."""
        outputs: dict[str, Tensor] = self.built(inputs)(inputs, tasks)
        return outputs

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """The cut; builds the model."""
        return self.built(inputs).encode(inputs, tasks)

    # ---------------------------------------------------------------- what there is only then

    def _unbuilt(self) -> NoReturn:
        raise TaskError(
            "this Deferred model is not built yet, so it has no parameters; call it with an input first, or "
            "model.built(example)"
        )

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """None yet.

        Raises:
            TaskError: always.
        """
        self._unbuilt()

    def state_dict(self, *arguments: Any, **settings: Any) -> Any:
        """None yet.

        Raises:
            TaskError: always.
        """
        self._unbuilt()

    def load_state_dict(self, *arguments: Any, **settings: Any) -> Any:
        """Not yet.

        Raises:
            TaskError: always.
        """
        self._unbuilt()

    def shared_parameters(self) -> NoReturn:
        """None yet.

        Raises:
            TaskError: always.
        """
        self._unbuilt()

    def task_parameters(self, task: str) -> NoReturn:
        """None yet.

        Raises:
            TaskError: always.
        """
        self._unbuilt()

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        self._moves.append(fn)  # to another device or type: once there is something to move
        return self
