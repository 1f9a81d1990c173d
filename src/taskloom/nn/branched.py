"""Branched networks: tasks whose single-task networks represent inputs alike share stages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from taskloom.errors import ExportError, TaskError
from taskloom.nn._partitions import Partition, coarsenings
from taskloom.nn.model import Freeze
from taskloom.nn.partial import PartialSharing
from taskloom.nn.phase import Phase
from taskloom.task import Task

if TYPE_CHECKING:
    from taskloom.data.batch import Batch

__all__ = ["BranchedNetworks", "feature_affinity", "tree_from_affinity"]


def feature_affinity(features: Sequence[Sequence[Tensor]]) -> Tensor:
    """How alike the networks of tasks represent the same inputs, by location.

    For every network and location the dissimilarities of all pairs of inputs, ``1 - Pearson correlation`` of their
    features; between two networks the Spearman correlation of these. It does not change when features are scaled.

    Args:
        features: per location, one tensor (N, ...) per task, of the same N inputs.

    Returns:
        (D, K, K), float64, ones on the diagonal.

    Raises:
        TaskError: fewer than three inputs, or tensors of different numbers of inputs.

    Source:
        S. Vandenhende, S. Georgoulis, B. De Brabandere, L. Van Gool, Branched Multi-Task Networks: Deciding What Layers
        To Share, BMVC 2020, arXiv:1904.02920.

    Example:
        >>> x = torch.randn(20, 5)
        >>> feature_affinity([[x, 3 * x]])[0].round(decimals=6)
        tensor([[1., 1.],
                [1., 1.]], dtype=torch.float64)
    """
    found = []
    for location, tensors in enumerate(features):
        counts = {len(tensor) for tensor in tensors}
        if len(counts) != 1 or min(counts) < 3:
            raise TaskError(
                f"location {location}: features of {sorted(counts)} inputs; expected those of the same 3 inputs or more"
            )
        ranks = torch.stack([_ranks(_dissimilarities(tensor.detach().double().flatten(1))) for tensor in tensors])
        found.append(torch.corrcoef(ranks).nan_to_num(0.0).reshape(len(tensors), len(tensors)))
    affinity = torch.stack(found)
    affinity.diagonal(dim1=1, dim2=2).fill_(1.0)
    return affinity


def _dissimilarities(features: Tensor) -> Tensor:
    """``1 - correlation`` of all pairs of rows; rows without spread correlate with nothing."""
    correlation = torch.corrcoef(features).nan_to_num(0.0)
    upper = torch.triu_indices(len(features), len(features), 1)
    return 1 - correlation[upper[0], upper[1]]


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0, ties averaged; what rounding leaves apart is a tie."""
    rounded = values.round(decimals=10)
    _, inverse, counts = torch.unique(rounded, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0).double()
    ranks: Tensor = (ends - (counts.double() + 1) / 2)[inverse]
    return ranks


def tree_from_affinity(
    affinity: Tensor | np.ndarray, *, budget: float, sizes: Sequence[float] | None = None
) -> list[Partition]:
    """Which tasks share which stage: the nested groups that lose least under a budget of parameters.

        minimise  sum_l  mean over tasks of  max over the task's group at l of  (1 - affinity_l)

    Args:
        affinity: (D, K, K), see :func:`feature_affinity`.
        budget: largest sum over stages of number of groups times size.
        sizes: size of a module of each stage, such as its number of parameters; default 1 each.

    Returns:
        per stage the groups of tasks, first stage first.

    Raises:
        TaskError: the budget does not suffice for one group per stage.

    Cost:
        exact for up to seven tasks; with more, the candidates of a stage are those of a hierarchical clustering.

    Differs from the paper:
        the mean is over tasks, not over groups: with the latter a group of one task, which loses nothing, halves the
        loss of all others, so that single tasks are cut off and planted groups missed. Dynamic programming over all
        nested partitions where the paper has a beam search.

    Example:
        >>> close = np.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]])
        >>> tree_from_affinity(np.stack([close, close]), budget=3)
        [((0, 1, 2),), ((0, 1), (2,))]
    """
    matrices = 1 - np.asarray(affinity, dtype=np.float64)
    n_stages, n_tasks = matrices.shape[:2]
    weights = [1.0] * n_stages if sizes is None else [float(size) for size in sizes]
    if len(weights) != n_stages:
        raise TaskError(f"sizes has {len(weights)} numbers, the affinity {n_stages} stages")
    least = [sum(weights[:stage]) for stage in range(n_stages)]  # what the stages before need
    # per partition at the current stage: (size so far, cost so far, partitions from here on), none dominated
    singles = tuple((task,) for task in range(n_tasks))
    front: dict[Partition, list[tuple[float, float, list[Partition]]]] = {singles: [(0.0, 0.0, [])]}
    for stage in reversed(range(n_stages)):
        reached: dict[Partition, list[tuple[float, float, list[Partition]]]] = {}
        for fine, ways in front.items():
            for partition in coarsenings(fine, matrices[stage]):
                cost, size = _cost(partition, matrices[stage]), len(partition) * weights[stage]
                for so_far, lost, chain in ways:
                    if so_far + size + least[stage] <= budget + 1e-9:
                        reached.setdefault(partition, []).append((so_far + size, lost + cost, [partition, *chain]))
        front = {partition: _undominated(ways) for partition, ways in reached.items()}
    ends = [way for ways in front.values() for way in ways]
    if not ends:
        raise TaskError(f"budget={budget:g} does not suffice for one group per stage, which needs {sum(weights):g}")
    return min(ends, key=lambda way: (way[1], way[0], way[2]))[2]


def _cost(partition: Partition, dissimilarity: np.ndarray) -> float:
    """Mean over tasks of the largest dissimilarity from a task of the same group."""
    largest = [dissimilarity[np.ix_(group, group)].max(axis=1) for group in partition]
    return float(np.mean(np.concatenate(largest)))


def _undominated(ways: list[tuple[float, float, list[Partition]]]) -> list[tuple[float, float, list[Partition]]]:
    kept: list[tuple[float, float, list[Partition]]] = []
    for way in sorted(ways, key=lambda one: (one[0], one[1], one[2])):
        if not kept or way[1] < kept[-1][1] - 1e-12:
            kept.append(way)
    return kept


class BranchedNetworks(PartialSharing):
    """Single-task networks that are compared, and then trained anew as one tree.

    Training goes through two phases: every task learns its own network; then the networks are compared by how they
    represent the training inputs (:func:`feature_affinity`), the tree under the budget is found
    (:func:`tree_from_affinity`), and :meth:`derive` returns it as a :class:`~taskloom.nn.PartialSharing`, which is
    trained from new weights.

    Args:
        stages: the stages of the encoder in order, each a module (copied and re-initialised for every task) or a
            function that builds one.
        tasks: the tasks.
        budget: parameters of the tree's stages over those of one encoder; default (K + 1) / 2 (our choice), half way
            between hard sharing and independent networks.
        single_epochs: epochs of the single-task networks; default 20.
        n_inputs: inputs on which networks are compared; default 500, as in the paper.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last stage, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: a budget below 1.

    Cost:
        K encoders in the first phase, then the tree.

    Differs from the paper:
        networks are compared on training inputs; the tree is found exactly for up to seven tasks, and what a tree loses
        is a mean over tasks (:func:`tree_from_affinity`).

    Source:
        S. Vandenhende, S. Georgoulis, B. De Brabandere, L. Van Gool, Branched Multi-Task Networks: Deciding What Layers
        To Share, BMVC 2020, arXiv:1904.02920.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "abc"]
        >>> model = BranchedNetworks([lambda: MLP(4, (8,)), lambda: MLP(8, (6,))], tasks, budget=1.5)
        >>> [phase.name for phase in model.phases()]
        ['single tasks', 'train']
    """

    affinity: Tensor

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        budget: float | None = None,
        single_epochs: int = 20,
        n_inputs: int = 500,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        names = [task.name for task in tasks]
        own = [{name: name for name in names} for _ in stages]
        super().__init__(stages, tasks, table=own, heads=heads, example=example)
        self.budget = (len(names) + 1) / 2 if budget is None else budget
        if not self.budget >= 1:
            raise TaskError(f"budget must be 1 (hard sharing) or more, found {budget!r}")
        self.single_epochs, self.n_inputs = single_epochs, n_inputs
        n_tasks = len(names)
        self.register_buffer("affinity", torch.ones(len(own), n_tasks, n_tasks, dtype=torch.float64))

    def phases(self) -> Iterator[Phase]:
        """Single-task networks, then the tree."""
        yield Phase(name="single tasks", epochs=self.single_epochs, review=self._compare, derives=True)
        yield Phase(name="train", fresh_weights=True)

    @torch.no_grad()
    def _compare(self, batches: Iterable[Batch]) -> None:
        """Compare the networks on inputs of the data; with several data sets on those of all of them."""
        inputs: list[Tensor] = []
        for batch in batches:
            parts = batch.inputs.values() if isinstance(batch.inputs, Mapping) else [batch.inputs]
            inputs.extend(parts)
            if sum(map(len, inputs)) >= self.n_inputs:
                break
        rows = torch.cat(inputs)
        rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), self.n_inputs)).long()]
        hidden = [rows] * len(self.tasks)
        features = []
        for depth in range(len(self.stages)):
            hidden = [self._modules_of(task)[depth](part) for task, part in zip(self.tasks, hidden, strict=True)]
            features.append(hidden)
        self.affinity.copy_(feature_affinity(features))

    def derive(self) -> PartialSharing:
        """The tree under the budget; its modules start as those of the first task of each group."""
        sizes = [sum(p.numel() for p in stage[0].parameters()) for stage in self._stages()]
        tree = tree_from_affinity(self.affinity.cpu(), budget=self.budget * max(1, sum(sizes)), sizes=sizes)
        table = [{self.tasks[k]: place for place, group in enumerate(groups) for k in group} for groups in tree]
        return self.with_structure(table)

    def structure(self) -> Any:
        """None: the tree is found by :meth:`derive`."""
        return None

    def with_structure(self, structure: list[dict[str, int]]) -> PartialSharing:
        """A tree of these stages under a table."""
        first = [stage[0] for stage in self._stages()]
        heads = dict(zip(self.tasks, self.heads, strict=True))
        plain = PartialSharing(first, self.task_objects, table=structure, same_start=True, heads=heads)
        return plain.with_structure(plain.structure())  # copies: nothing is shared with the networks compared

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        like: str | None = None,
        stages: int | None = 0,
        head: nn.Module | None = None,
        example: Any = None,
    ) -> Self:
        """A new model with a network for one more task (see :meth:`PartialSharing.add_task`), not compared yet."""
        model = super().add_task(task, freeze=freeze, like=like, stages=stages, head=head, example=example)
        n_tasks = len(model.tasks)
        model.affinity = self.affinity.new_ones(len(model.stages), n_tasks, n_tasks)
        return model

    def export(self, task: str | None = None) -> nn.Module:
        """Not before the tree is derived.

        Raises:
            ExportError: always; ``derive().export(task)`` works.
        """
        raise ExportError("the tree of these BranchedNetworks is not found yet; call derive() first")

    def forget(self, index: int) -> None:
        super().forget(index)
        kept = [task for task in range(len(self.tasks)) if task != index]
        self.affinity = self.affinity[:, kept][:, :, kept]
