"""The network of one task of an architecture of experts, without what only other tasks need."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from taskloom.nn._expert_level import ExpertLevel
from taskloom.nn._expert_levels import ExpertLevels
from taskloom.nn.gates.fixed import FixedWeights
from taskloom.nn.gates.gate import Gate
from taskloom.nn.parallel import Parallel

__all__ = ["ExpertPath", "used_places"]


class ExpertPath(nn.Module):
    """Input -> last state of one stream.

    At the last level the experts of other streams are gone; so are, where the gate reads no input, experts with weight
    0, and the gate itself, of which its weights are left.

    Args:
        levels: all levels; their modules are used, not copied.
        stream: the stream.
    """

    def __init__(self, levels: ExpertLevels, stream: int) -> None:
        super().__init__()
        streams = sorted({*levels.feeding, stream})
        self.levels = levels.select(streams, asked=[stream])
        self.stream = streams.index(stream)
        self.levels.levels[-1] = _without_unused(self.levels.level(-1), self.stream)

    def forward(self, inputs: Any) -> Tensor:
        """The last state (B, ...)."""
        return self.levels.tails(self.levels.spine(inputs), [self.stream])[0]


def _without_unused(level: ExpertLevel, stream: int) -> ExpertLevel:
    """A last level of one stream without experts that a gate without input never uses; other levels as they are."""
    indices = [*level.own[stream], *level.shared]
    used = used_places(level.gate(stream))
    if used is None:
        return level
    kept, gate = used
    n_own = [0] * len(level.own)
    gates: list[FixedWeights | None] = [None] * len(level.own)
    n_own[stream] = sum(place < len(level.own[stream]) for place in kept)
    gates[stream] = gate
    chosen = Parallel([level.experts[indices[place]] for place in kept])
    pruned = ExpertLevel(chosen, gates, n_own=n_own, shared_gate=None, gating=level.gating)
    return pruned.train(level.training)


def used_places(gate: nn.Module | None) -> tuple[list[int], FixedWeights | None] | None:
    """Which of its experts a gate without input uses, and its weights of them if they are not just 1; else None."""
    if not isinstance(gate, Gate) or not gate.rule.is_static:
        return None
    weights = gate.static_weights()
    kept = weights.nonzero().flatten().tolist() or [0]
    is_one = len(kept) == 1 and bool(weights[kept[0]] == 1)
    return kept, None if is_one else FixedWeights(weights[kept])
