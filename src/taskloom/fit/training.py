"""What one network's training is: the network, the balancer, the data, and how long and how fast.

A :class:`Training` is plain data. Who carries it out - Lightning's Trainer, or the batched run that trains many of
one shape at once - makes no difference to its result.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, islice

import torch
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.data.order import RowOrder
from taskloom.data.tensors import TaskTensors
from taskloom.errors import DataError, TaskError, nearest
from taskloom.losses import task_losses
from taskloom.nn.model import MultiTaskModel
from taskloom.nn.phase import Phase
from taskloom.task import Task

__all__ = ["Objective", "OptimiserSettings", "Schedule", "Training", "is_trained_in_phases"]


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """Settings of AdamW, the optimiser of every training.

    Args:
        learning_rate: step size; default 1e-3, AdamW's own.
        weight_decay: decoupled weight decay; default 1e-2, AdamW's own.

    Source:
        Loshchilov, Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101.

    Example:
        >>> OptimiserSettings(learning_rate=3e-4).weight_decay
        0.01
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise DataError(f"learning_rate must be positive, found {self.learning_rate!r}")
        if not self.weight_decay >= 0:
            raise DataError(f"weight_decay must not be negative, found {self.weight_decay!r}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a network is trained.

    Args:
        max_epochs: largest number of epochs; default 100.
        patience: epochs without a better validation score after which training stops; default 10.
        batch_size: rows of a step (of one task, for several data sets); None chooses by the number of rows.
        measure_every: every how many epochs one step's gradient conflicts are measured; 0 never.

    Example:
        >>> Schedule(max_epochs=5).patience
        10
    """

    max_epochs: int = 100
    patience: int = 10
    batch_size: int | None = None
    measure_every: int = 0

    def __post_init__(self) -> None:
        for name, low in (("max_epochs", 1), ("patience", 1), ("batch_size", 1), ("measure_every", 0)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise DataError(f"{name} must be at least {low}, found {value!r}")


@dataclass(frozen=True)
class Objective:
    """The validation score: how far each task's loss is below that of the best constant prediction.

    ``score = mean over scored tasks of  loss_k / loss of the best constant on the training labels``

    so that 1 is what guessing gives, lower is better, and tasks with different units count alike.

    Args:
        tasks: the tasks, in order.
        constants: (K,) loss of the best constant prediction.
        scored: (K,) which tasks count (not the auxiliary ones).

    Example:
        >>> from taskloom.task import Regression
        >>> tasks = (Task(name="a", kind=Regression()),)
        >>> float(Objective(tasks, torch.ones(1), torch.ones(1, dtype=torch.bool)).score(
        ...     torch.tensor([0.25]), torch.tensor([True])))
        0.25
    """

    tasks: tuple[Task, ...]
    constants: Tensor
    scored: Tensor

    @classmethod
    def of(cls, tensors: TaskTensors, *, main: Sequence[str] = ()) -> Objective:
        """Objective of a data set; ``main`` names the tasks that count, default all that are not auxiliary.

        Raises:
            TaskError: a main task that is not there.
        """
        rows = torch.from_numpy(tensors.train)
        targets, known = tensors.targets[rows], tensors.mask[rows]
        labels = {task.name: targets[known[:, k], k] for k, task in enumerate(tensors.tasks)}
        return cls.from_labels(tensors.tasks, labels, main=main)

    @classmethod
    def from_labels(cls, tasks: Sequence[Task], labels: Mapping[str, Tensor], *, main: Sequence[str] = ()) -> Objective:
        """Objective from the known training labels of every task, (n_k,); see :meth:`of`.

        Raises:
            TaskError: a main task that is not there.
        """
        names = [task.name for task in tasks]
        for name in main:
            if name not in names:
                raise TaskError(f"main: unknown task {name!r}.{nearest(name, names)}")
        scored = [task.name in main if main else not task.auxiliary for task in tasks]
        if not any(scored):
            raise TaskError("every task is auxiliary; at least one task must count for the score")
        plain = tuple(unweighted(task) for task in tasks)
        constants = torch.stack([_constant_loss(task, labels[task.name].double()) for task in plain])
        return cls(plain, constants, torch.tensor(scored))

    def losses(self, outputs: dict[str, Tensor], targets: dict[str, Tensor], mask: dict[str, Tensor] | None) -> Tensor:
        """Unweighted validation losses (K,); NaN for a task without a label. Runs under vmap."""
        values, active = task_losses(self.tasks, outputs, targets=targets, mask=mask)
        return torch.where(active, values, torch.full_like(values, torch.nan))

    def score(self, losses: Tensor, active: Tensor) -> Tensor:
        """Score of losses (..., K), over the scored and present tasks; shape (...)."""
        counts = active & self.scored
        relative = torch.where(counts, losses / self.constants.to(losses.dtype), 0.0)
        return relative.sum(-1) / counts.sum(-1).clamp(min=1)


def is_trained_in_phases(model: MultiTaskModel) -> bool:
    """Whether a model asks for more than one plain phase that trains everything.

    Example:
        >>> import taskloom as tl
        >>> is_trained_in_phases(tl.HardSharing(tl.MLP(3), [tl.Task(name="a", kind=tl.Regression())]))
        False
    """
    if type(model).phases is MultiTaskModel.phases:
        return False
    # of a copy, and no more than two: what stands between phases may change the model, and may go on until trained
    phases = list(islice(copy.deepcopy(model).phases(), 2))
    return len(phases) != 1 or dataclasses.replace(phases[0], name="") != Phase(name="")


def unweighted(task: Task) -> Task:
    """The task with weight 1 on its loss: validation never weighs."""
    return dataclasses.replace(task, loss_weight=1.0)


def _constant_loss(task: Task, target: Tensor) -> Tensor:
    """Loss that the best constant prediction has on labels (n,), at least 1e-12."""
    if task.kind.n_classes:
        counts = torch.bincount(target.long(), minlength=task.kind.n_classes).double()
        shares = ((counts + 0.5) / (counts + 0.5).sum()).log()
        constant = shares if task.kind.n_outputs > 1 else (shares[1] - shares[0]).reshape(1)
        labels = target.long()
    else:
        constant, labels = target.mean().reshape(1), target
    outputs = constant.expand(len(labels), task.kind.n_outputs)
    everything = {task.name: torch.ones(len(labels), dtype=torch.bool)}
    loss, _ = task_losses((task,), {task.name: outputs}, targets={task.name: labels}, mask=everything)
    return loss[0].clamp(min=1e-12)


@dataclass(frozen=True, eq=False)
class Training:
    """Everything that determines how one network is trained.

    Args:
        model: the network, with its initial weights; training does not change it.
        balancer: how task losses or gradients are combined; training does not change it.
        tensors: the data; its tasks are the model's.
        objective: the validation score that early stopping watches.
        optimiser: optimiser settings.
        schedule: length of training.
        seed: base seed of the row order and of the balancer's random draws.

    Raises:
        TaskError: the model's tasks are not the data's.
        DataError: the validation part has no label of a task that counts.

    Example:
        >>> import taskloom as tl, numpy as np
        >>> tasks = (tl.Task(name="a", kind=tl.Regression()),)
        >>> x = torch.randn(20, 2)
        >>> tensors = TaskTensors(tasks=tasks, inputs=x, targets=x[:, :1], mask=torch.ones(20, 1).bool(),
        ...                       train=np.arange(15), validation=np.arange(15, 20))
        >>> model = tl.HardSharing(tl.nn.MLP(2, hidden=(4,)), tasks)
        >>> Training(model, tl.equal(), tensors, Objective.of(tensors)).order.steps
        1
    """

    model: MultiTaskModel
    balancer: Balancer
    tensors: TaskTensors
    objective: Objective
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    schedule: Schedule = field(default_factory=Schedule)
    seed: int = 0

    def __post_init__(self) -> None:
        expected = tuple(task.name for task in self.tensors.tasks)
        if tuple(self.model.tasks) != expected:
            raise TaskError(
                f"the model has the tasks {list(self.model.tasks)}, the data {list(expected)}; "
                "build the model from data.tasks"
            )
        if not any(compress(self.tensors.labelled_rows("validation"), self.objective.scored.tolist())):
            raise DataError(
                "no task that counts for the score has a labelled row in the validation part; early stopping needs some"
            )
        self.balancer.bind(self.tensors.tasks)

    @cached_property
    def order(self) -> RowOrder:
        """Order of the training rows."""
        return self.tensors.order(batch_size=self.schedule.batch_size, seed=self.seed)

    def measures(self, epoch: int) -> bool:
        """Whether gradient conflicts are measured in this epoch (at its first step)."""
        every = self.schedule.measure_every
        return every > 0 and len(self.model.tasks) > 1 and epoch % every == 0
