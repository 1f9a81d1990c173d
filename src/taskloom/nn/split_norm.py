"""Batch normalisation with running statistics of every task's own."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._grow import thaw_norms
from taskloom.nn.model import Freeze, MultiTaskModel
from taskloom.nn.parallel import Parallel
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["SplitNorms", "split_batch_norm"]

_BatchNorm = nn.modules.batchnorm._BatchNorm


def split_batch_norm(model: MultiTaskModel) -> SplitNorms:
    """Give every task running statistics of its own in each batch normalisation of a model.

    For tasks whose inputs, or whose features, are distributed differently: several data sets, or blocks that some tasks
    run and others skip. With common statistics a network that is right in training is wrong for every task in
    evaluation. Scale and shift stay common, and so do all groups of parameters; :class:`~taskloom.nn.FiLM` makes
    scales and shifts of every task's own.

    Args:
        model: any architecture; it is not changed.

    Returns:
        the same architecture, computed task by task. All statistics begin as they are in the model.

    Raises:
        TaskError: no multi-task model, or one without running statistics.

    Cost:
        one pass through the whole network per task, also where the tasks have one input.

    Source:
        statistics per domain as in W.-G. Chang, T. You, S. Seo, S. Kwak, B. Han, Domain-Specific Batch Normalization
        for Unsupervised Domain Adaptation, CVPR 2019, arXiv:1906.03950, who split scale and shift too.

    Example:
        >>> import torch
        >>> from taskloom.nn import HardSharing
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
        >>> encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> model = split_batch_norm(HardSharing(encoder, tasks, example=torch.zeros(2, 4)))
        >>> outputs = model({"a": torch.randn(50, 4), "b": 5 + torch.randn(50, 4)})
        >>> [len(norm.of_tasks) for norm in model.norms()]
        [2]
    """
    if not isinstance(model, MultiTaskModel):
        raise TaskError(
            f"split_batch_norm needs to know the tasks: found {type(model).__name__}, expected a multi-task model such "
            "as HardSharing(encoder, tasks)"
        )
    return SplitNorms(copy.deepcopy(model))


class TaskNorms(nn.Module):
    """One normalisation per task, with one scale and shift for all; the task of the present pass is selected.

    Args:
        norm: the normalisation that is split.
        n_tasks: number of tasks.
    """

    def __init__(self, norm: nn.Module, n_tasks: int) -> None:
        super().__init__()
        self.of_tasks = nn.ModuleList([norm])
        self.selected = 0
        for _ in range(n_tasks - 1):
            self.add_task()

    def add_task(self) -> None:
        """Statistics for one more task, which learn, beginning with those of the first."""
        first = self.of_tasks[0]
        tied: dict[int, Any] = {id(parameter): parameter for parameter in first.parameters()}
        self.of_tasks.append(thaw_norms(copy.deepcopy(first, tied)))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.of_tasks[self.selected](inputs)
        return output


class SplitNorms(MultiTaskModel):
    """A model whose batch normalisations have running statistics per task; :func:`split_batch_norm` makes it.

    Args:
        model: the architecture, which is changed.

    Example:
        >>> import torch
        >>> from taskloom.nn import HardSharing
        >>> from taskloom.task import Regression
        >>> encoder = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> inner = HardSharing(encoder, [Task(name="a", kind=Regression())], example=torch.zeros(2, 4))
        >>> type(SplitNorms(inner).export("a")[0][1]).__name__
        'BatchNorm1d'
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__(model.task_objects)
        places = [
            (name, part)
            for name, part in model.named_modules()
            if isinstance(part, _BatchNorm) and part.running_mean is not None
        ]
        if not places:
            raise TaskError(f"{type(model).__name__} has no batch normalisation with running statistics to split")
        for name, norm in places:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, TaskNorms(norm, len(self.tasks)))
        self.model = model
        self.has_batch_penalties = model.has_batch_penalties

    @property
    def heads(self) -> Parallel:  # type: ignore[override]
        """Those of the model."""
        return self.model.heads

    def norms(self) -> Iterator[TaskNorms]:
        """The split normalisations."""
        return (part for part in self.model.modules() if isinstance(part, TaskNorms))

    # ---------------------------------------------------------------- the forward pass

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return [self._alone(inputs, index) for index in indices]

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        return [self._alone(part, index) for part, index in zip(parts, indices, strict=True)]

    def _alone(self, inputs: Any, index: int) -> Any:
        for norm in self.norms():
            norm.selected = index
        return self.model.represent(inputs, [index])[0]

    def decide(self, features: Sequence[Any], indices: Sequence[int]) -> list[Tensor]:
        found: list[Tensor] = []
        for part, index in zip(features, indices, strict=True):
            for norm in self.norms():
                norm.selected = index
            found += self.model.decide([part], [index])
        return found

    # ---------------------------------------------------------------- what the model says

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the model."""
        return self.model.shared_parameters()

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Those of the model."""
        return self.model.task_parameters(task)

    def structure_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the model."""
        return self.model.structure_parameters()

    def coupling_parameters(self) -> Iterator[nn.Parameter]:
        """Those of the model."""
        return self.model.coupling_parameters()

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Those of the model."""
        return self.model.param_groups(lr, weight_decay=weight_decay)

    def penalties(self) -> dict[str, Tensor]:
        """Those of the model."""
        return self.model.penalties()

    def phases(self) -> Iterator[Phase]:
        """Those of the model."""
        return self.model.phases()

    def reset_weights(self) -> None:
        """New weights for the model."""
        self.model.reset_weights()

    def structure(self) -> Any:
        """That of the model."""
        return self.model.structure()

    def describe(self) -> dict[str, Any]:
        """What the model says of itself."""
        return self.model.describe()

    # ---------------------------------------------------------------- other models

    def derive(self) -> MultiTaskModel:
        """The derived model, with the statistics of every task."""
        return self._around(self.model.derive())

    def with_structure(self, structure: Any) -> MultiTaskModel:
        """The model with another structure, with the statistics of every task."""
        return self._around(self.model.with_structure(structure))

    def _around(self, model: MultiTaskModel) -> MultiTaskModel:
        """A model that consists of this one's parts."""
        if model is self.model:
            return self
        other = copy.copy(self)
        other._modules = {"model": model}
        return other

    def path(self, task: str) -> nn.Module:
        return self.model.path(task)

    def export(self, task: str | None = None) -> nn.Module:
        """A copy for use; for one task the plain network, with the normalisations of that task."""
        if task is None:
            return super().export()
        return _settled(self.model.export(task), self.position(task))

    def add_task(self, task: Task, *, freeze: Freeze = "none") -> Self:
        """A new model with one more task, whose statistics begin as those of the first.

        Args:
            task: the new task.
            freeze: as for the model's own ``add_task``.
        """
        new = copy.copy(self)
        new._modules = {"model": self.model.add_task(task, freeze=freeze)}
        for norm in new.norms():
            if len(norm.of_tasks) == len(self.tasks):
                norm.add_task()
        return new._named()

    def forget(self, index: int) -> None:
        self.model = self.model.remove_task(self.tasks[index])
        for norm in self.norms():
            del norm.of_tasks[index]
            norm.selected = 0

    def _named(self) -> Self:
        self.task_objects, self.tasks = self.model.task_objects, self.model.tasks
        self._positions = self.model._positions
        return self


def _settled(module: nn.Module, index: int) -> nn.Module:
    """A module in which every split normalisation is that of one task."""
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, TaskNorms):
                setattr(part, name, child.of_tasks[index])
    return module.of_tasks[index] if isinstance(module, TaskNorms) else module
