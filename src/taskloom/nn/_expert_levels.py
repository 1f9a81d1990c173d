"""Levels of experts one behind the other, cut in two: what shared parameters contribute, and what is private to a task.

The shared experts of a level read the shared stream. At all levels but the last, that stream is a mixture of the shared
experts and of the own experts of all streams that *feed* it; these own experts are thereby shared too, and so are the
gates that make the states they read. The rest is private: at the last level own experts and gates, before it the gates
whose mixtures no feeding expert reads. A stream without own experts, and one that was added to a trained network,
feeds nothing and is private from the first level on. All of this is empty where there are no shared experts.

The *spine* is what the shared part computes: outputs of experts by level and the states with which private parts begin.
It is the cut of the network. The *tail* of a stream goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._expert_level import ExpertLevel
from taskloom.nn._grow import fresh_copy
from taskloom.nn.fork import fork
from taskloom.nn.gates.gate import Gate

__all__ = ["ExpertLevels", "Spine"]


@dataclass(frozen=True)
class Spine:
    """What the private parts read.

    Args:
        inputs: input of the network, with which streams that feed nothing begin.
        states: (feeding streams, B, ...) with which the others begin; None if they begin with the input.
        outputs: (experts, B, ...) of each level: own experts of feeding streams, then shared ones; None without any.
        common: what the shared experts of the last level read, if they are still to be computed, with the others.
    """

    inputs: Any
    states: Tensor | None
    outputs: tuple[Tensor | None, ...]
    common: Any = None

    def forked(self, task: str) -> Spine:
        """The same for one task, behind forks."""
        states = None if self.states is None else fork(self.states, task)
        return Spine(self.inputs, states, tuple(None if part is None else fork(part, task) for part in self.outputs))

    def split(self, sizes: Sequence[int], inputs: Sequence[Any]) -> list[Spine]:
        """Blocks of rows, with the inputs they were computed from."""
        n_blocks = len(sizes)
        states = [None] * n_blocks if self.states is None else self.states.split(list(sizes), dim=1)
        columns = [[None] * n_blocks if part is None else part.split(list(sizes), dim=1) for part in self.outputs]
        outputs = [tuple(row) for row in zip(*columns, strict=True)]
        return [Spine(*block) for block in zip(inputs, states, outputs, strict=True)]


class ExpertLevels(nn.Module):
    """Levels in order, and which streams feed the shared one.

    Args:
        levels: the levels, each with the same streams.
        feeding: streams whose own experts feed the shared stream.
    """

    def __init__(self, levels: Sequence[ExpertLevel], feeding: Sequence[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(levels)
        self.feeding = tuple(feeding)
        self.last = len(levels) - 1

    def __iter__(self) -> Iterator[ExpertLevel]:
        return cast(Iterator[ExpertLevel], iter(self.levels))

    def level(self, depth: int) -> ExpertLevel:
        """One level."""
        return cast(ExpertLevel, self.levels[depth])

    def begins(self, stream: int) -> int:
        """The first level whose gate is private to a stream."""
        return max(self.last - 1, 0) if stream in self.feeding else 0

    # ---------------------------------------------------------------- the shared part

    def spine(self, inputs: Any, *, is_whole: bool = True) -> Spine:
        """Compute what the shared part contributes.

        Args:
            inputs: input of the network.
            is_whole: also the shared experts of the last level, which may as well be computed with the own ones.
        """
        common, states, entering = inputs, [inputs] * len(self.feeding), None
        outputs: list[Tensor | None] = []
        for depth, level in enumerate(self):
            streams = self.feeding if depth < self.last else ()
            if level.n_shared == 0 or (depth == self.last and not is_whole):
                outputs.append(None)
                continue
            found = level.outputs(streams, states[: len(streams)], common)
            outputs.append(found)
            if streams and depth < self.last - 1:
                entering = level.states(streams, states, found)
                states = list(entering.unbind(0))
            if depth < self.last:
                common = level.shared_state(common, found)
        is_due = not is_whole and self.level(-1).n_shared > 0
        return Spine(inputs, entering, tuple(outputs), common if is_due else None)

    # ---------------------------------------------------------------- the private parts

    def tails(self, spine: Spine, streams: Sequence[int]) -> list[Tensor]:
        """The last states of streams that all see the rows of one spine."""
        groups = [[stream for stream in streams if (stream in self.feeding) == feeds] for feeds in (True, False)]
        if not all(groups):
            return list(self._tails(spine, streams))
        if spine.common is not None:
            last = self.level(-1).outputs((), (), spine.common)
            spine = Spine(spine.inputs, spine.states, (*spine.outputs[:-1], last))
        found = {
            stream: tail for group in groups for stream, tail in zip(group, self._tails(spine, group), strict=True)
        }
        return [found[stream] for stream in streams]

    def _tails(self, spine: Spine, streams: Sequence[int]) -> Sequence[Tensor]:
        """Of streams that all feed the shared stream, or none of which does."""
        begin = self.begins(streams[0])
        states: Sequence[Any] = [spine.inputs] * len(streams)
        if begin and spine.states is not None:
            entering = spine.states.unbind(0)
            states = [entering[self.feeding.index(stream)] for stream in streams]
        for depth, level in enumerate(self):
            if depth >= begin:
                outputs = self._outputs(spine, streams, states, depth=depth)
                states = level.states(streams, states, outputs).unbind(0)
        return states

    def _outputs(self, spine: Spine, streams: Sequence[int], states: Sequence[Any], *, depth: int) -> Tensor:
        """Outputs of the streams' own experts and of the shared ones, of which some are in the spine."""
        level = self.level(depth)
        given: Tensor | None = spine.outputs[depth]
        if given is None:
            return level.outputs(streams, states, spine.common if depth == self.last else None)
        pieces: list[Tensor] = list(given.split([*self._sizes(depth), level.n_shared]))
        shared = pieces.pop()
        if depth < self.last and streams[0] in self.feeding:
            if tuple(streams) == self.feeding:
                return given
            return torch.cat([*(pieces[self.feeding.index(stream)] for stream in streams), shared])
        if not any(len(level.own[stream]) for stream in streams):
            return shared
        own: Tensor = level.outputs(streams, states)
        return torch.cat([own, shared])

    def _sizes(self, depth: int) -> list[int]:
        """Numbers of own experts of feeding streams in the spine."""
        return [len(self.level(depth).own[stream]) for stream in self.feeding if depth < self.last]

    def tails_apart(self, spine: Spine, streams: Sequence[int], states: Sequence[Tensor]) -> list[Tensor] | None:
        """The last states of streams with as many rows each, where one level is all there is; else None.

        Args:
            spine: of the rows of all streams, one block after the other.
            streams: the streams.
            states: their blocks of the input.
        """
        if self.last > 0 or any(state.shape != states[0].shape for state in states):
            return None
        found = self.level(0).states_apart(streams, states, shared=spine.outputs[0])
        return None if found is None else list(found.unbind(0))

    # ---------------------------------------------------------------- the spine as a cut

    def cut(self, spine: Spine, streams: Sequence[int]) -> tuple[Any, ...]:
        """What the tails of these streams read of a spine: its input, its states, its outputs."""
        begins = {self.begins(stream) for stream in streams}
        starts = [spine.inputs] * (0 in begins) + [spine.states] * (begins != {0})
        return (*starts, *(part for part in spine.outputs[min(begins) :] if part is not None))

    def uncut(self, cut: Sequence[Any], streams: Sequence[int]) -> list[Spine]:
        """Spines from one cut for all of these streams, or from one for each, one behind the other.

        Raises:
            TaskError: another number of parts.
        """
        begins = {self.begins(stream) for stream in streams}
        is_there = [depth >= min(begins) and level.n_shared > 0 for depth, level in enumerate(self)]
        width = (0 in begins) + (begins != {0}) + sum(is_there)
        if len(cut) not in (width, width * len(streams)):
            raise TaskError(
                f"the cut of {len(streams)} tasks has {width} parts, or {width} for each task; found {len(cut)}"
            )
        spines = []
        for start in range(0, len(cut), width):
            parts = iter(cut[start : start + width])
            inputs = next(parts) if 0 in begins else None
            states = next(parts) if begins != {0} else None
            spines.append(Spine(inputs, states, tuple(next(parts) if there else None for there in is_there)))
        return spines

    # ---------------------------------------------------------------- parts of it

    def gates(self) -> Iterator[Gate]:
        """All gates."""
        for level in self:
            yield from (gate for gate in (*level.gates, level.shared_gate) if isinstance(gate, Gate))

    def parts(self) -> Iterator[nn.Module]:
        """All experts and gates."""
        for level in self:
            yield from level.experts
            yield from (gate for gate in (*level.gates, level.shared_gate) if gate is not None)

    def private(self, stream: int) -> Iterator[nn.Module]:
        """Experts and gates that only the task of a stream reaches."""
        for depth, level in enumerate(self):
            if stream not in self.feeding or depth == self.last:
                yield from (level.experts[index] for index in level.own[stream])
            gate = level.gate(stream) if depth >= self.begins(stream) else None
            if gate is not None:
                yield gate

    def add_stream(self, task: str, n_own: int) -> int:
        """One more stream with new experts and gates, in place, which feeds nothing; its index.

        Raises:
            TaskError: it would have no expert.
        """
        if n_own < 0 or n_own + self.level(0).n_shared == 0:
            raise TaskError(
                f"task {task!r} has no expert at level 1 (n_shared={self.level(0).n_shared}, n_own={n_own}); give it "
                "one or more with n_own="
            )
        for level in self:
            level.add_stream([fresh_copy(level.experts[0]) for _ in range(n_own)])
        return len(self.level(0).own) - 1

    def select(self, streams: Sequence[int], *, asked: Sequence[int]) -> ExpertLevels:
        """Levels with what the tails of some streams need, not copied.

        Args:
            streams: the streams that stay, in order: those that feed the shared stream, and those asked for.
            asked: the streams whose tails are asked for.
        """
        feeding = [stream for stream in streams if stream in self.feeding]
        levels = []
        for depth, level in enumerate(self):
            begun = [stream for stream in asked if depth >= self.begins(stream)]
            levels.append(
                level.select(
                    streams,
                    experts=[*asked, *(feeding if depth < self.last else [])],
                    gates=[*begun, *(feeding if depth < self.last - 1 else [])],
                    has_shared_gate=depth < self.last,
                )
            )
        return ExpertLevels(levels, [streams.index(stream) for stream in feeding])
