"""What MMoE, CGC and PLE have in common: levels of experts, a stream per task, and heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from taskloom.nn._batching import joined_rows
from taskloom.nn._expert_build import ExpertFactory, GateInputs, build_levels, own_counts
from taskloom.nn._expert_levels import Spine
from taskloom.nn._expert_path import ExpertPath
from taskloom.nn._grow import freeze_module, grown
from taskloom.nn._inputs import read_request
from taskloom.nn.fork import forks_are_open
from taskloom.nn.gates.base import GateRule
from taskloom.nn.gates.gate import Gate
from taskloom.nn.gates.report import describe_gates, gate_penalties, watched
from taskloom.nn.gates.softmax import SoftmaxGate
from taskloom.nn.heads.default import build_head, build_heads
from taskloom.nn.model import Freeze, MultiTaskModel, trainable
from taskloom.task import Task

__all__ = ["ExpertNetwork"]


class ExpertNetwork(MultiTaskModel):
    """Levels of shared and own experts, mixed by gates; see :class:`~taskloom.nn._expert_levels.ExpertLevels`.

    Args:
        experts: one factory, or module to copy, per level.
        tasks: the tasks.
        n_shared: number of shared experts per level.
        n_own: number of own experts per level, of all tasks or of each.
        gate: the rule of all gates; None: :class:`SoftmaxGate`.
        gate_input: what gates read.
        heads: task name -> head module; default a linear layer by kind of task.
        example: sample input.
    """

    def __init__(
        self,
        experts: Sequence[ExpertFactory],
        tasks: Sequence[Task],
        *,
        n_shared: int,
        n_own: int | Mapping[str, int],
        gate: GateRule | None,
        gate_input: GateInputs,
        heads: Mapping[str, nn.Module] | None,
        example: Any,
    ) -> None:
        super().__init__(tasks)
        self.levels, given = build_levels(
            experts,
            self.tasks,
            n_shared=n_shared,
            n_own=own_counts(n_own, self.tasks),
            rule=SoftmaxGate() if gate is None else gate,
            gate_input=gate_input,
            example=example,
        )
        self.streams = list(range(len(self.tasks)))  # the stream of each task
        self.has_cut = n_shared > 0
        self.has_batch_penalties = any(gate.keeps_graph for gate in self.levels.gates())
        self.heads = build_heads(self.task_objects, self.levels.level(-1).experts[0], heads=heads, example=given)

    # ---------------------------------------------------------------- forward

    def features(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """What the heads read: task name -> mixture of experts."""
        for gate in self.levels.gates():
            gate.forget()
        return super().features(inputs, tasks)

    def represent(self, inputs: Any, indices: Sequence[int]) -> list[Any]:
        if forks_are_open():
            return self._forked(self.levels.spine(inputs), indices)
        return self.levels.tails(self.levels.spine(inputs, is_whole=False), self._streams(indices))

    def represent_each(self, parts: Sequence[Any], indices: Sequence[int]) -> list[Any]:
        if all(part is parts[0] for part in parts):
            return self.represent(parts[0], indices)
        rows = joined_rows(self.levels, parts)
        if rows is None:
            return [self.represent(part, [index])[0] for part, index in zip(parts, indices, strict=True)]
        spine = self.levels.spine(rows)
        found = None if forks_are_open() else self.levels.tails_apart(spine, self._streams(indices), parts)
        if found is not None:
            return found
        blocks = spine.split([part.shape[0] for part in parts], parts)
        return [self._forked(block, [index])[0] for block, index in zip(blocks, indices, strict=True)]

    def _forked(self, spine: Spine, indices: Sequence[int]) -> list[Tensor]:
        """Last states of tasks that see the same rows, each behind forks of its own."""
        pairs = zip(indices, self._streams(indices), strict=True)
        return [self.levels.tails(spine.forked(self.tasks[index]), [stream])[0] for index, stream in pairs]

    def _streams(self, indices: Sequence[int]) -> list[int]:
        return [self.streams[index] for index in indices]

    def encode(self, inputs: Any, tasks: Sequence[str] | None = None) -> tuple[Any, ...]:
        """What the private parts read: the input or the states with which they begin, and outputs of experts by level.

        With one input per task as many parts for each task, one task after the other.
        """
        if not self.has_cut:
            return super().encode(inputs, tasks)
        for gate in self.levels.gates():
            gate.forget()
        request = read_request(inputs, tasks, self._positions)
        streams = self._streams(request.indices)
        if request.parts is None:
            return self.levels.cut(self.levels.spine(inputs), streams)
        rows = joined_rows(self.levels, request.parts)
        if rows is None:
            spines = [self.levels.spine(part) for part in request.parts]
        else:
            spines = self.levels.spine(rows).split([part.shape[0] for part in request.parts], request.parts)
        return tuple(part for spine in spines for part in self.levels.cut(spine, streams))

    def decode(self, cut: Sequence[Any], tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Outputs from the cut of these tasks: one for all of them, or one for each, one behind the other."""
        if not self.has_cut:
            return super().decode(cut, tasks)
        request = read_request(None, tasks, self._positions)
        streams = self._streams(request.indices)
        spines = self.levels.uncut(cut, streams)
        if len(spines) == 1:
            features = self.levels.tails(spines[0], streams)
        else:
            features = [self.levels.tails(one, [stream])[0] for one, stream in zip(spines, streams, strict=True)]
        return dict(zip(request.names, self.decide(features, request.indices), strict=True))

    # ---------------------------------------------------------------- parameters

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Shared experts; before the last level also the own experts of tasks, and the gates of what those read."""
        return trainable(*self._shared())

    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        """Gates whose mixtures only this task reads, its own experts of the last level, its head."""
        index = self.position(task)
        return trainable(*self.levels.private(self.streams[index]), self.heads[index])

    def _shared(self) -> list[nn.Module]:
        private = {id(module) for stream in self.streams for module in self.levels.private(stream)}
        return [module for module in self.levels.parts() if id(module) not in private]

    def penalties(self) -> dict[str, Tensor]:
        """Penalties of the gates' rule, summed over gates; those that look at rows: of the last forward in training."""
        return gate_penalties(self.levels.gates())

    # ---------------------------------------------------------------- what it looks like

    def describe(self) -> dict[str, Any]:
        """Counts of parameters, and ``"gates"``: per task and level what :func:`describe_gates` says."""
        gates = {task: describe_gates(self._gates(index)) for index, task in enumerate(self.tasks)}
        shared = describe_gates([level.shared_gate for level in self.levels][:-1])
        return {**super().describe(), "gates": gates, "shared_gates": shared}

    def gate_weights(self, inputs: Any, tasks: Sequence[str] | None = None) -> dict[str, list[Tensor]]:
        """How the gates of tasks weigh the experts for some inputs, in evaluation mode: per level (n, experts).

        Args:
            inputs: as for ``forward``.
            tasks: names of the tasks asked for; default all.

        Returns:
            task name -> one matrix per level, own experts first, then shared ones; a level where the task has one
            expert is left out.
        """
        request = read_request(inputs, tasks, self._positions)
        if request.parts is None:
            return self._watched(inputs, request.names)
        found: dict[str, list[Tensor]] = {}
        for name, part in zip(request.names, request.parts, strict=True):
            found |= self._watched(part, [name])
        return found

    def _watched(self, inputs: Any, names: Sequence[str]) -> dict[str, list[Tensor]]:
        with watched(self, {name: self._gates(self.position(name)) for name in names}) as found:
            self.features(inputs, names)
        return found

    def _gates(self, index: int) -> list[Gate | None]:
        found = [level.gate(self.streams[index]) for level in self.levels]
        return [gate if isinstance(gate, Gate) else None for gate in found]

    # ---------------------------------------------------------------- other tasks

    def path(self, task: str) -> nn.Module:
        index = self.position(task)
        return nn.Sequential(ExpertPath(self.levels, self.streams[index]), self.heads[index])

    def add_task(
        self,
        task: Task,
        *,
        freeze: Freeze = "none",
        n_own: int | None = None,
        head: nn.Module | None = None,
        example: Any = None,
    ) -> Self:
        """A new model with one more task: its own experts and gates at every level, and a head.

        The answers of the old tasks stay as they are, so the shared stream does not read the new experts.

        Args:
            task: the new task.
            freeze: ``"old"`` freezes everything that exists, ``"shared"`` what the old tasks share.
            n_own: number of its own experts per level; default as the first task has.
            head: head of the new task; default by kind.
            example: sample input of the last level, only needed when the experts do not say their ``out_features``.
        """
        model = grown(self, task, freeze=freeze, shared=())
        if freeze == "shared":
            for module in model._shared():
                freeze_module(module)
        count = model.levels.level(-1).n_own[model.streams[0]] if n_own is None else n_own
        model.streams.append(model.levels.add_stream(task.name, count))
        last = model.levels.level(-1).experts[0]
        model.heads.append(build_head(task, last, others=self.heads, head=head, example=example))
        return model

    def forget(self, index: int) -> None:
        super().forget(index)
        del self.streams[index]
        # what feeds the shared stream stays: the other tasks read what it makes of that
        kept = sorted({*self.levels.feeding, *self.streams})
        self.levels = self.levels.select(kept, asked=self.streams)
        self.streams = [kept.index(stream) for stream in self.streams]
