"""Partial sharing: a table or a tree says which tasks share which stage of the encoder."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch import nn

from taskloom.nn._batching import run_together
from taskloom.nn._grow import add_copy, freeze_module, grown
from taskloom.nn._table import check_table
from taskloom.nn.adapters import build_copies
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.nn.parallel import Parallel
from taskloom.task import Task

__all__ = ["PartialSharing"]


class PartialSharing(MultiTaskModel):
    """Encoder stages shared by groups of tasks, as a table says; tasks with one path so far are computed once.

    Between hard sharing (one group at every stage) and independent networks (every task its own group).

        h_t^0 = x,   h_t^l = m_(l, table[l][t])(h_t^(l-1)),   y_t = head_t(h_t^L)

    Args:
        stages: the stages of the encoder in order, each a module (copied and re-initialised for every group after the
            first) or a function without arguments that builds one.
        tasks: the tasks.
        table: per stage a mapping task -> group label; see :func:`taskloom.nn.sharing_table` for trees.
        tree: require that tasks, once split, stay split; False allows any table, where one module may then be run on
            several inputs. Default True.
        same_start: give all groups of a stage the weights of the first, for pretrained stages; default False.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last stage, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: a table that does not fit the stages or the tasks, or is no tree.

    Cost:
        the sum over stages of the number of groups, times the cost of the stage; one call per distinct path.

    Differs from the paper:
        nothing; the table is given, not learned.

    Source:
        R. Caruana, Multitask Learning, Machine Learning 28, 1997; trees of tasks as in Y. Lu et al., Fully-adaptive
        Feature Sharing in Multi-Task Networks, CVPR 2017, arXiv:1611.05377.

    Example:
        >>> import torch
        >>> from taskloom.nn import MLP, sharing_table
        >>> from taskloom.task import Regression
        >>> tasks = [Task(name=name, kind=Regression()) for name in "abc"]
        >>> table = sharing_table((("a", "b"), "c"), splits=(1, 2), n_stages=3)
        >>> stages = [lambda: MLP(4, (8,)), lambda: MLP(8, (8,)), lambda: MLP(8, (8,))]
        >>> model = PartialSharing(stages, tasks, table=table)
        >>> [len(groups) for groups in model.stages], model(torch.zeros(5, 4))["c"].shape
        ([1, 2, 3], torch.Size([5, 1]))
    """

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        table: Sequence[Mapping[str, Hashable]],
        tree: bool = True,
        same_start: bool = False,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        check_table(table, self.tasks, n_stages=len(stages), tree=tree)
        self.tree = tree
        self.groups: list[dict[str, int]] = []  # per stage: task -> index of its module
        self.stages = nn.ModuleList()
        for row, stage in zip(table, stages, strict=True):
            labels = {label: index for index, label in enumerate(dict.fromkeys(row[task] for task in self.tasks))}
            self.groups.append({task: labels[row[task]] for task in self.tasks})
            self.stages.append(build_copies(stage, len(labels), what="stage", same=same_start))
        last = self._modules_of(self.tasks[0])[-1]
        self.heads = build_heads(self.task_objects, last, heads=heads, example=example)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        paths: list[tuple[int, ...]] = [() for _ in indices]
        values: dict[tuple[int, ...], Any] = {(): inputs}
        for stage, groups in zip(self._stages(), self.groups, strict=True):
            paths = [(*path, groups[self.tasks[index]]) for path, index in zip(paths, indices, strict=True)]
            distinct = list(dict.fromkeys(paths))
            outputs = stage.run([values[path[:-1]] for path in distinct], members=[path[-1] for path in distinct])
            values = dict(zip(distinct, outputs, strict=True))
        return [values[path] for path in paths]

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        values = list(parts)
        for stage, groups in zip(self._stages(), self.groups, strict=True):
            members = [groups[self.tasks[index]] for index in indices]
            if len(set(members)) == len(members):
                values = stage.run(values, members=members)
                continue
            for member in dict.fromkeys(members):
                positions = [position for position, other in enumerate(members) if other == member]
                results = run_together(stage[member], [values[position] for position in positions])
                for position, result in zip(positions, results, strict=True):
                    values[position] = result
        return values

    def _stages(self) -> Iterator[Parallel]:
        for stage in self.stages:
            assert isinstance(stage, Parallel)
            yield stage

    def _modules_of(self, task: str) -> list[nn.Module]:
        return [stage[groups[task]] for stage, groups in zip(self._stages(), self.groups, strict=True)]

    def _shared_modules(self) -> list[nn.Module]:
        shared = []
        for stage, groups in zip(self._stages(), self.groups, strict=True):
            users = Counter(groups.values())
            shared += [module for index, module in enumerate(stage) if len(groups) == 1 or users[index] > 1]
        return shared

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """The modules that two or more tasks use (all modules, for a single task)."""
        return trainable(*self._shared_modules())

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """The modules that only this task uses, and its head."""
        index = self.position(task)
        shared = {id(module) for module in self._shared_modules()}
        own = [module for module in self._modules_of(task) if id(module) not in shared]
        return trainable(*own, self.heads[index])

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(*self._modules_of(task), self.heads[index])

    def structure(self) -> list[dict[str, int]]:
        """The table: per stage, task -> index of its module."""
        return [dict(groups) for groups in self.groups]

    def with_structure(self, structure: list[dict[str, int]]) -> PartialSharing:
        """The same stages under another table; modules of a new group are copies of the first."""
        other = copy.deepcopy(self)
        check_table(structure, self.tasks, n_stages=len(self.stages), tree=self.tree)
        other.groups = [dict(row) for row in structure]
        for stage, row in zip(other._stages(), structure, strict=True):
            n_groups = max(row.values()) + 1
            while len(stage) < n_groups:
                add_copy(stage)
            del stage[n_groups:]
        return other

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
        """A new model with one more task, which shares its first stages and gets new modules behind them.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` the modules shared so far.
            like: the old task whose modules the new one shares; default the first.
            stages: how many stages it shares with that task; default those that all tasks share.
            head: head of the new task; default by kind.
            example: sample input of the last stage, only needed when that does not say its ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            for module in model._shared_modules():
                freeze_module(module)
        partner = self.tasks[self.position(like)] if like is not None else self.tasks[0]
        common = [len(set(groups.values())) == 1 for groups in self.groups]
        n_shared = stages if stages is not None else (common.index(False) if False in common else len(common))
        model.groups = [dict(groups) for groups in self.groups]
        for depth, (stage, groups) in enumerate(zip(model._stages(), model.groups, strict=True)):
            if depth >= n_shared:
                add_copy(stage)
            groups[task.name] = groups[partner] if depth < n_shared else len(stage) - 1
        last = model._modules_of(task.name)[-1]
        model.heads.append(build_head(task, last, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        for stage, groups in zip(self._stages(), self.groups, strict=True):
            group = groups.pop(self.tasks[index])
            if group not in groups.values():
                del stage[group]
                groups.update({task: other - 1 for task, other in groups.items() if other > group})
