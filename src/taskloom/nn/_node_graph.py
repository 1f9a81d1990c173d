"""Several copies of every stage of an encoder, each reading a mixture of the copies before: nodes of a graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._alike import are_copies
from taskloom.nn._said import with_width
from taskloom.nn.adapters import build_copies
from taskloom.nn.heads.default import build_heads
from taskloom.nn.model import MultiTaskModel
from taskloom.nn.parallel import Parallel
from taskloom.task import Task

__all__ = ["Mixture", "NodeGraph", "one_parent"]

Mixture = Sequence[tuple[int, Tensor | None]]
"""What a node reads: nodes of the depth before, with their shares; None is a share of exactly 1."""


def one_parent(index: int) -> Mixture:
    """The mixture of a node that reads one other."""
    return [(index, None)]


class NodeGraph(MultiTaskModel):
    """Nodes at depths 0 .. L-1, and the task heads behind them; subclasses say who reads what.

    Args:
        stages: the stages of the encoder in order, each a module (copied and re-initialised for every further node)
            or a function that builds one.
        tasks: the tasks.
        widths: number of nodes at every depth; default min(K, 2^depth).
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input of the last stage, only needed when that does not say its ``out_features``.

    Raises:
        TaskError: no stage, or widths that do not fit.
        UserWarning: (a warning) nodes that are identical copies.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module | Callable[[], nn.Module]],
        tasks: Sequence[Task],
        *,
        widths: Sequence[int] | None = None,
        heads: Mapping[str, nn.Module] | None = None,
        example: Any = None,
    ) -> None:
        super().__init__(tasks)
        built = list(stages)
        if not built:
            raise TaskError(f"{type(self).__name__} needs at least one stage")
        counts = [min(len(self.tasks), 2**depth) for depth in range(len(built))] if widths is None else list(widths)
        if len(counts) != len(built) or any(count < 1 for count in counts):
            raise TaskError(f"widths={counts}: expected one number of 1 or more for each of the {len(built)} stages")
        self.nodes = nn.ModuleList(
            build_copies(stage, count, what="stage") for stage, count in zip(built, counts, strict=True)
        )
        for depth, nodes in enumerate(self.nodes):
            if are_copies(list(nodes.children())):
                warnings.warn(
                    f"nodes of depth {depth} are identical copies: it makes no difference which of them is read, and "
                    "nothing is learned of it; give a factory that draws new weights in each call",
                    stacklevel=3,
                )
                break
        last = with_width(self._depth(-1)[0])
        self.heads = build_heads(self.task_objects, last, heads=heads, example=example)

    def _depth(self, depth: int) -> Parallel:
        nodes = self.nodes[depth]
        assert isinstance(nodes, Parallel)
        return nodes

    def mixtures(self) -> list[list[Mixture]]:
        """Per depth 1 .. L-1 what every node reads, then per task what its head reads."""
        raise NotImplementedError

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        return self._run(inputs, indices, self.mixtures())

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        mixtures = self.mixtures()  # one draw for all tasks of a step
        return [self._run(part, [index], mixtures)[0] for part, index in zip(parts, indices, strict=True)]

    def _run(self, inputs: Any, indices: Sequence[int], mixtures: list[list[Mixture]]) -> list[Any]:
        needed = _needed(mixtures, indices)
        values: dict[int, Any] = {}
        for depth in range(len(self.nodes)):
            members = sorted(needed[depth])
            reads = [inputs] * len(members) if depth == 0 else [_mixed(mixtures[depth - 1][m], values) for m in members]
            values = dict(zip(members, self._depth(depth).run(reads, members=members), strict=True))
        return [_mixed(mixtures[-1][index], values) for index in indices]

    def _users(self, mixtures: list[list[Mixture]]) -> list[list[set[int]]]:
        """The tasks that reach every node under some mixtures."""
        users: list[list[set[int]]] = [[set() for _ in self._depth(depth)] for depth in range(len(self.nodes))]
        for task in range(len(self.tasks)):
            for depth, members in enumerate(_needed(mixtures, [task])):
                for member in members:
                    users[depth][member].add(task)
        return users

    def path(self, task: str) -> nn.Module:
        return _Path(self, self.position(task))


def _needed(mixtures: Sequence[Sequence[Mixture]], tasks: Sequence[int]) -> list[set[int]]:
    """Nodes of every depth that some tasks need."""
    needed = [{parent for task in tasks for parent, _ in mixtures[-1][task]}]
    for level in reversed(mixtures[:-1]):
        needed.append({parent for member in needed[-1] for parent, _ in level[member]})
    return needed[::-1]


def _mixed(mixture: Mixture, values: Mapping[int, Any]) -> Any:
    if len(mixture) == 1 and mixture[0][1] is None:
        return values[mixture[0][0]]
    parts = [values[parent] * _share(share, values[parent]) for parent, share in mixture]
    return sum(parts[1:], start=parts[0])


def _share(share: Tensor | None, value: Any) -> Tensor | float:
    return 1.0 if share is None else share.to(value.dtype)


class _Path(nn.Module):
    """The nodes that one task needs, with their shares as they are now, and its head."""

    def __init__(self, model: NodeGraph, index: int) -> None:
        super().__init__()
        was_training = model.training
        mixtures = model.eval().mixtures()
        model.train(was_training)
        needed = [sorted(members) for members in _needed(mixtures, [index])]
        self.nodes = nn.ModuleList(
            nn.ModuleList(model._depth(depth)[member] for member in members) for depth, members in enumerate(needed)
        )
        place = [{member: at for at, member in enumerate(members)} for members in needed]
        levels = [[level[member] for member in needed[depth]] for depth, level in enumerate(mixtures[:-1], start=1)]
        levels.append([mixtures[-1][index]])
        self.reads: list[list[list[tuple[int, Tensor | None]]]] = [
            [[(place[depth][parent], None if s is None else s.detach()) for parent, s in mixture] for mixture in level]
            for depth, level in enumerate(levels)
        ]
        self.head = model.heads[index]

    def forward(self, inputs: Any) -> Tensor:
        values: dict[int, Any] = {}
        for depth, nodes in enumerate(self.nodes):
            assert isinstance(nodes, nn.ModuleList)
            reads = self.reads[depth - 1]
            given = [inputs] * len(nodes) if depth == 0 else [_mixed(mixture, values) for mixture in reads]
            values = {at: node(value) for at, (node, value) in enumerate(zip(nodes, given, strict=True))}
        output: Tensor = self.head(_mixed(self.reads[-1][0], values))
        return output
