"""Learning to branch: which copy of a stage feeds which copy of the next is sampled, learned, and becomes a tree."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import ExportError, TaskError
from taskloom.nn._grow import grown
from taskloom.nn._node_graph import Mixture, NodeGraph, one_parent
from taskloom.nn._param_groups import two_groups
from taskloom.nn._said import with_width
from taskloom.nn.heads.default import build_head
from taskloom.nn.model import Freeze, trainable
from taskloom.nn.partial import PartialSharing
from taskloom.nn.phase import Phase
from taskloom.nn.policies.policy import Policy
from taskloom.task import Task

__all__ = ["LearningToBranch"]


class LearningToBranch(NodeGraph):
    """Every copy of a stage chooses one copy of the stage before as its parent; so do the task heads.

    Since a node has one parent the result is a tree of the tasks: :meth:`derive` returns it as a
    :class:`~taskloom.nn.PartialSharing`.

        h_(l+1),j = node_(l+1),j( sum_i d_ij h_l,i ),   d_j from a Gumbel-softmax

    Training goes through phases: a warm-up, if wanted, in which every node reads the mean of its possible parents; a
    search in which weights and choices learn together while the temperature falls; and a new training of the tree. In
    evaluation mode the most probable parents are used.

    Which tree is found varies with the seed: nodes of one depth are interchangeable at first, and tasks that happen to
    choose alike keep choosing alike. ``benchmarks/planted.py`` shows how often planted groups are found.

    Args:
        stages: the stages of the encoder in order, each a module (copied and re-initialised for every further node)
            or a function that builds one.
        tasks: the tasks.
        widths: number of nodes at every depth; default min(K, 2^depth) (our choice; the authors' code has K
            everywhere).
        warmup_epochs: epochs of the warm-up; default 0: nodes that have learned as parts of one mean are alike, and
            then there is nothing to choose.
        search_epochs: epochs of the search; default 40.
        learning_rate: that of the choices; default 0.2 (our choice), since at the temperature of the beginning logits
            have to differ by several units before a choice counts.
        temperature: temperatures at the beginning and the end of the search; default (5, 0.5).
        hard: sample one-hot choices, with the gradient of soft ones (straight through); default False: soft samples
            that become one-hot as the temperature falls, whose gradients vary less.
        fresh_weights: train the tree from new weights, as in the paper; default True. False keeps those of the search.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last stage, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: no stage, widths that do not fit, or settings out of range.

    Cost:
        all nodes in every step of the search; then the tree.

    Differs from the paper:
        widths, soft samples, and the schedule of the temperature.

    Source:
        P. Guo, C.-Y. Lee, D. Ulbricht, Learning to Branch for Multi-Task Learning, ICML 2020, arXiv:2006.01895.

    Example:
        >>> from taskloom.nn import MLP
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "abc"]
        >>> model = LearningToBranch([lambda: MLP(4, (8,)), lambda: MLP(8, (8,)), lambda: MLP(8, (6,))], tasks)
        >>> [len(nodes) for nodes in model.nodes], model.derive().structure()[0]
        ([1, 2, 3], {'a': 0, 'b': 0, 'c': 0})
    """

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        widths: Sequence[int] | None = None,
        warmup_epochs: int = 0,
        search_epochs: int = 40,
        learning_rate: float = 0.2,
        temperature: tuple[float, float] = (5.0, 0.5),
        hard: bool = False,
        fresh_weights: bool = True,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(stages, tasks, widths=widths, heads=heads, example=example)
        if warmup_epochs < 0 or search_epochs < 1 or not learning_rate > 0:
            found = f"found {warmup_epochs!r}, {search_epochs!r} and {learning_rate!r}"
            raise TaskError(
                f"warmup_epochs must be 0 or more, search_epochs 1 or more and learning_rate positive, {found}"
            )
        if not temperature[0] >= temperature[1] > 0:
            raise TaskError(f"temperature must fall and stay positive, found {temperature!r}")
        self.warmup_epochs, self.search_epochs, self.fresh_weights = warmup_epochs, search_epochs, fresh_weights
        self.learning_rate, self.temperature, self.hard = learning_rate, temperature, hard
        counts = [len(nodes) for nodes in self.nodes] + [len(self.tasks)]  # type: ignore[arg-type]
        self.policies = nn.ModuleList(
            Policy((children,), parents, temperature=temperature[0]) for parents, children in pairwise(counts)
        )
        self.warming_up = False

    # ---------------------------------------------------------------- who reads what

    def mixtures(self) -> list[list[Mixture]]:
        if self.warming_up:
            return [[_mean(len(row)) for row in policy.logits] for policy in self._policies()]
        if not self.training:
            return [[one_parent(parent) for parent in policy.choices().tolist()] for policy in self._policies()]
        return [[_sampled(row) for row in policy.sample(hard=self.hard)] for policy in self._policies()]

    def _policies(self) -> Iterator[Policy]:
        for policy in self.policies:
            assert isinstance(policy, Policy)
            yield policy

    def structure(self) -> None:
        """None: the tree is found by :meth:`derive`."""

    def derive(self) -> PartialSharing:
        """The tree of the most probable parents, with the weights of its nodes."""
        return self.with_structure(self._table())

    def _table(self) -> list[dict[str, int]]:
        """Per stage, the node of every task."""
        *levels, last = [policy.choices().tolist() for policy in self._policies()]
        rows, current = [], last
        for parents in reversed(levels):
            rows.append(current)
            current = [parents[node] for node in current]
        rows.append(current)
        return [dict(zip(self.tasks, row, strict=True)) for row in reversed(rows)]

    def with_structure(self, structure: Sequence[Mapping[str, int]]) -> PartialSharing:
        """The tree of a table: per stage, the node of every task."""
        first = [copy.deepcopy(self._depth(depth)[0]) for depth in range(len(self.nodes))]
        heads = {task: copy.deepcopy(head) for task, head in zip(self.tasks, self.heads, strict=True)}
        tree = PartialSharing(first, self.task_objects, table=structure, same_start=True, heads=heads)
        for depth, (groups, row) in enumerate(zip(tree.groups, structure, strict=True)):
            stage: Any = tree.stages[depth]
            for task, group in groups.items():
                stage[group] = copy.deepcopy(self._depth(depth)[row[task]])
        return tree

    # ---------------------------------------------------------------- training

    def phases(self) -> Iterator[Phase]:
        """Warm-up, search of weights and choices, training of the tree."""
        if self.warmup_epochs:
            yield Phase(
                name="warm-up",
                epochs=self.warmup_epochs,
                train=("shared", "task"),
                on_enter=partial(self._warm_up, True),
                on_exit=partial(self._warm_up, False),
            )
        yield Phase(name="search", epochs=self.search_epochs, on_step=self._cool, derives=True)
        yield Phase(name="retrain", fresh_weights=self.fresh_weights)

    def param_groups(self, lr: float, *, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """The choices learn at a rate of their own, and are not decayed.

        Args:
            lr: learning rate of nodes and heads.
            weight_decay: that of nodes and heads; default 0.
        """
        return two_groups(
            self,
            self.policies.parameters(),
            usual={"lr": lr, "weight_decay": weight_decay},
            own={"lr": self.learning_rate, "weight_decay": 0.0},
        )

    def _warm_up(self, warming_up: bool) -> None:
        self.warming_up = warming_up

    def _cool(self, step: int, n_steps: int) -> None:
        """The temperature behind a step, on a geometric way from the first to the last."""
        first, last = self.temperature
        for policy in self._policies():
            policy.temperature.fill_(first * (last / first) ** ((step + 1) / n_steps))

    def get_extra_state(self) -> Tensor:
        """Whether the network is in its warm-up."""
        return torch.tensor(int(self.warming_up))

    def set_extra_state(self, state: Tensor) -> None:
        """Take up what :meth:`get_extra_state` gave."""
        self.warming_up = bool(state)

    # ---------------------------------------------------------------- who owns what

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """All nodes: any task may come to read any of them."""
        return trainable(self.nodes)

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The head of the task."""
        return trainable(self.heads[self.position(task)])

    def structure_parameters(self) -> Iterator[nn.Parameter]:
        """The logits of the choices."""
        return trainable(self.policies)

    def export(self, task: str | None = None) -> nn.Module:
        """Not before the tree is derived.

        Raises:
            ExportError: always; ``derive().export(task)`` works.
        """
        raise ExportError("the tree of this LearningToBranch is still searched; call derive() first")

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, the nodes on the most probable path of every task, and the probabilities of parents."""
        probabilities = [policy.probabilities().detach().tolist() for policy in self._policies()]
        return {**super().describe(), "table": self._table(), "parents": probabilities}

    def add_task(
        self, task: Task, *, freeze: Freeze = "none", head: nn.Module | None = None, example: Any = None
    ) -> Self:
        """A new model with one more task, which may choose any node of the last depth.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, choices too (the new task then reads the first node);
                ``"shared"`` the nodes.
            head: head of the new task; default by kind.
            example: sample input of the last stage, only needed when no head is linear and it does not say its width.
        """
        model = grown(self, task, freeze=freeze, shared=("nodes",))
        logits = list(model._policies())[-1].logits
        rows = torch.cat([logits.detach(), logits.new_zeros(1, logits.shape[1])])
        list(model._policies())[-1].logits = nn.Parameter(rows, requires_grad=logits.requires_grad)
        last = with_width(self._depth(-1)[0])
        model.heads.append(build_head(task, last, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        kept = [task for task in range(len(self.tasks)) if task != index]
        last = list(self._policies())[-1]
        last.logits = nn.Parameter(last.logits.detach()[kept].clone())


def _mean(n_parents: int) -> Mixture:
    if n_parents == 1:
        return one_parent(0)
    return [(parent, torch.tensor(1 / n_parents, dtype=torch.float64)) for parent in range(n_parents)]


def _sampled(shares: Tensor) -> Mixture:
    return list(enumerate(shares)) if len(shares) > 1 else one_parent(0)
