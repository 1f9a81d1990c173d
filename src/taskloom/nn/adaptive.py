"""Fully-adaptive feature sharing: a thin network that splits from the top where tasks have little in common."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.losses.base import Loss
from taskloom.losses.defaults import default_loss
from taskloom.nn._partitions import Partition, coarsenings
from taskloom.nn.model import Freeze
from taskloom.nn.partial import PartialSharing
from taskloom.nn.phase import Phase
from taskloom.task import Regression, Task

if TYPE_CHECKING:
    from taskloom.data.batch import Batch

__all__ = ["AdaptiveSharing", "error_affinity"]


def error_affinity(margins: Tensor) -> Tensor:
    """How often two tasks find the same examples hard.

    An example is hard for a task when its margin of error is at least the task's mean; the affinity is the share of
    examples that are hard for both or easy for both.

        e_ik = 1 if m_ik >= mean_i m_ik else 0,   A(k, l) = mean_i [ e_ik e_il + (1 - e_ik)(1 - e_il) ]

    Args:
        margins: (n, K), errors of n examples; NaN where a label is not known: such pairs are left out.

    Returns:
        (K, K), float64, in [0, 1], ones on the diagonal; 1/2 for tasks without a common example.

    Source:
        Y. Lu, A. Kumar, S. Zhai, Y. Cheng, T. Javidi, R. Feris, Fully-adaptive Feature Sharing in Multi-Task Networks
        with Applications in Person Attribute Classification, CVPR 2017, arXiv:1611.05377.

    Example:
        >>> error_affinity(torch.tensor([[0.0, 1.0], [2.0, 5.0], [0.0, 0.0], [2.0, 0.0]]))
        tensor([[1.0000, 0.7500],
                [0.7500, 1.0000]], dtype=torch.float64)
    """
    margins = margins.double()
    known = ~margins.isnan()
    hard = torch.where(known, (margins >= margins.nanmean(0)).double(), 0.0)
    easy = known.double() - hard
    common = known.double().T @ known.double()
    affinity = torch.where(common > 0, (hard.T @ hard + easy.T @ easy) / common.clamp(min=1), 0.5)
    affinity.fill_diagonal_(1.0)
    return affinity


class AdaptiveSharing(PartialSharing):
    """Hard sharing of a thin encoder that grows into a tree where tasks find different examples hard.

    It grows from the top, stage by stage. After each stretch of training the branches above the active stage are
    grouped; d groups cost

        (d - 1) unit_cost 2^(poolings) + separation * (mean over branches of 1 - smallest affinity in the group)

    and d copies of the stage are made. A copy starts with the weights, statistics and moments of the original, so that
    nothing changes at that moment. It ends when one group is best, or the first stage has been looked at.

    Args:
        stages: the stages of the encoder in order, modules or functions that build one; thin ones
            (:func:`~taskloom.nn.thin_chain` makes them from pretrained wide ones).
        tasks: the tasks.
        widen_epochs: epochs between two looks; default 5.
        separation: weight a of what is lost by mixing tasks; default 1.
        unit_cost: cost of one more branch; default 0.1, for which two planted groups are told from one and from as many
            as tasks, in made-up errors and in networks trained on planted groups (``benchmarks/planted.py``).
        poolings: how often the features are down-sampled above each stage; default none.
        margin: (outputs (n, n_outputs), targets (n,)) -> errors (n,); default the absolute error in regression, else
            the task's own loss per example.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last stage, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: a setting out of range.

    Cost:
        one encoder at the start; that of the tree at the end.

    Differs from the paper:
        all partitions are tried for up to seven branches, and those of a hierarchy beyond, where the paper has spectral
        clustering; so what is lost is a mean over branches, not over groups, of which single tasks, which lose
        nothing, would be cut off.

    Source:
        Y. Lu et al., CVPR 2017, arXiv:1611.05377.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "abc"]
        >>> model = AdaptiveSharing([lambda: MLP(4, (8,)), lambda: MLP(8, (6,))], tasks)
        >>> [phase.name for phase in model.phases()]
        ['stage 2', 'stage 1', 'fine-tune']
    """

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        widen_epochs: int = 5,
        separation: float = 1.0,
        unit_cost: float = 0.1,
        poolings: Sequence[int] | None = None,
        margin: Callable[[Tensor, Tensor], Tensor] | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        one = [{task.name: 0 for task in tasks} for _ in stages]
        super().__init__(stages, tasks, table=one, heads=heads, example=example)
        self.poolings = [0] * len(one) if poolings is None else [int(number) for number in poolings]
        if widen_epochs < 1 or not separation > 0 or not unit_cost >= 0 or len(self.poolings) != len(one):
            raise TaskError(
                "widen_epochs must be 1 or more, separation positive, unit_cost 0 or more, and poolings one number per "
                f"stage; found {widen_epochs!r}, {separation!r}, {unit_cost!r}, {poolings!r}"
            )
        self.widen_epochs, self.separation, self.unit_cost = widen_epochs, separation, unit_cost
        self.margin = margin
        self._affinity = torch.eye(len(self.tasks), dtype=torch.float64)
        self._origins: dict[nn.Parameter, nn.Parameter] = {}
        self._is_done = False

    # ---------------------------------------------------------------- training

    def phases(self) -> Iterator[Phase]:
        """Training and widening by turns, from the last stage to the first; then training of the tree."""
        for depth in reversed(range(len(self.stages))):
            if self._is_done:
                break
            yield Phase(
                name=f"stage {depth + 1}",
                epochs=self.widen_epochs,
                review=self._look,
                inherits=self._inherited,
                on_exit=lambda depth=depth: self.widen(depth),  # type: ignore[misc]
            )
        yield Phase(name="fine-tune", inherits=self._inherited, derives=True)

    def _inherited(self) -> dict[nn.Parameter, nn.Parameter]:
        """Every parameter goes on with its own moments, copies with those of the original."""
        return {parameter: self._origins.get(parameter, parameter) for parameter in self.parameters()}

    @torch.no_grad()
    def _look(self, batches: Iterable[Batch]) -> None:
        rows: list[Tensor] = []
        for batch in batches:
            if isinstance(batch.inputs, Mapping) and batch.inputs.keys() <= set(self.tasks):
                continue  # tasks on different examples have none in common
            outputs = self(batch.inputs)
            columns = []
            for task in self.task_objects:
                errors = torch.full((len(next(iter(outputs.values()))),), torch.nan, dtype=torch.float64)
                if task.name in batch.targets:
                    known = batch.known(task.name)
                    found = self._margins(task, outputs[task.name], batch.targets[task.name])
                    errors = torch.where(known, found.double(), errors)
                columns.append(errors)
            rows.append(torch.stack(columns, dim=1))
        if rows:
            self._affinity = error_affinity(torch.cat(rows))

    def _margins(self, task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.margin is not None:
            return self.margin(outputs, targets)
        if isinstance(task.kind, Regression):
            return (outputs.reshape(len(targets), -1)[:, 0] - targets).abs()
        loss = task.loss if isinstance(task.loss, Loss) else default_loss(task.kind)
        return loss.elementwise(outputs, targets.to(outputs.dtype))

    def grouping(self, depth: int) -> Partition:
        """The best groups of the branches above a stage, as groups of tasks, under the affinity seen last."""
        branches = self._branches(depth)
        affinity = self._affinity.numpy()
        between = np.array([[_branch_affinity(affinity, one, other) for other in branches] for one in branches])
        between = (between + between.T) / 2
        best = min(
            coarsenings(tuple((place,) for place in range(len(branches))), 1 - between),
            key=lambda groups: (round(self._cost(groups, between, depth), 12), len(groups), groups),
        )
        return tuple(tuple(sorted(task for place in group for task in branches[place])) for group in best)

    def _branches(self, depth: int) -> list[tuple[int, ...]]:
        """Tasks that go on together above a stage; each task alone above the last."""
        if depth == len(self.stages) - 1:
            return [(task,) for task in range(len(self.tasks))]
        above = self.groups[depth + 1]
        return [
            tuple(task for task, name in enumerate(self.tasks) if above[name] == group)
            for group in sorted(set(above.values()))
        ]

    def _cost(self, groups: Partition, between: np.ndarray, depth: int) -> float:
        lost = [1 - between[k, list(group)].min() for group in groups for k in group]
        branches: float = (len(groups) - 1) * self.unit_cost * 2.0 ** self.poolings[depth]
        return branches + self.separation * float(np.mean(lost))

    def widen(self, depth: int) -> None:
        """Split a stage into the groups that are best now; the function of the network does not change."""
        groups = self.grouping(depth)
        self._origins = {}
        if len(groups) == 1:
            self._is_done = True
            return
        stage: Any = self.stages[depth]
        original = stage[0]
        for place, group in enumerate(groups):
            if place:
                twin = copy.deepcopy(original)
                self._origins |= dict(zip(twin.parameters(), original.parameters(), strict=True))
                stage.append(twin)
            for task in group:
                self.groups[depth][self.tasks[task]] = place

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        like: str | None = None,
        stages: int | None = None,
        head: nn.Module | None = None,
        example: Any = None,
    ) -> Self:
        """As :meth:`PartialSharing.add_task`; what tasks find hard is to be seen anew."""
        model = super().add_task(task, freeze=freeze, like=like, stages=stages, head=head, example=example)
        model._affinity = torch.eye(len(model.tasks), dtype=torch.float64)
        return model

    def derive(self) -> PartialSharing:
        """The tree as it is, with its weights."""
        first = [copy.deepcopy(stage[0]) for stage in self._stages()]
        heads = {task: copy.deepcopy(head) for task, head in zip(self.tasks, self.heads, strict=True)}
        tree = PartialSharing(first, self.task_objects, table=super().structure(), same_start=True, heads=heads)
        for depth, stage in enumerate(self._stages()):
            copies: Any = tree.stages[depth]
            for place, module in enumerate(stage):
                copies[place] = copy.deepcopy(module)
        return tree


def _branch_affinity(affinity: np.ndarray, one: Sequence[int], other: Sequence[int]) -> float:
    """Mean over the tasks of one branch of the smallest affinity with those of another."""
    return float(np.mean([affinity[task, list(other)].min() for task in one]))
