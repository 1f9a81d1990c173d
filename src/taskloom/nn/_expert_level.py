"""One level of experts and gates, of which MMoE, CGC and PLE are made.

A stream is what one task has between two levels: its state goes into its gate and its own experts, and the gate's
mixture of these and of the shared experts is its next state. The shared stream has a gate over all experts, or none at
a last level. MMoE is one level without own experts, CGC is one level, PLE several.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import computes_together
from taskloom.nn.gates.base import GateRule
from taskloom.nn.gates.fixed import FixedWeights
from taskloom.nn.gates.gate import Gate, weigh_together
from taskloom.nn.gates.mix import mix, mix_apart, mix_for_gates
from taskloom.nn.gates.rows import GateInput, gate_rows
from taskloom.nn.parallel import Parallel

__all__ = ["ExpertLevel", "Gating", "mixture_of", "outputs_of"]

DENSE_UP_TO = 16
"""Up to this number of streams own and shared experts are mixed as one product, with weights of 0 for those of others.

The products per number grow with the number of streams; beyond, each number is multiplied and added once. Measured on
one CPU core, forward and backward, batch 128, width 64, 2 shared experts and 1 own: 0.13 against 0.33 ms for 2 streams,
0.33 against 0.47 ms for 10.
"""


@dataclass(frozen=True)
class Gating:
    """What the gates of a level read, and how they weigh.

    Args:
        rule: how scores become weights.
        in_features: width of what they read.
        read: state -> rows (B, in_features); None: the pooled state.
    """

    rule: GateRule
    in_features: int
    read: GateInput | None = None

    def build(self, n_experts: int) -> Gate | None:
        """A gate over some experts; None where there is one, and so nothing to choose."""
        if n_experts == 1:
            return None
        gate = Gate(self.in_features, n_experts, rule=self.rule)
        gate.collects = True
        return gate

    def rows(self, state: Any) -> Tensor:
        """What the gates read of a state; nothing but the number of rows if they look at no input."""
        if self.rule.is_static and isinstance(state, Tensor):
            return torch.empty(state.shape[0], 0, device=state.device)
        return gate_rows(state, self.read)


class ExpertLevel(nn.Module):
    """Experts and gates of one level.

    Args:
        experts: own experts of the first stream, of the second, ..., then the shared ones.
        gates: per stream its gate over its own experts and the shared ones, in this order; None where there is nothing
            to choose (one expert) or nobody asks.
        n_own: number of own experts of each stream.
        shared_gate: gate of the shared stream over all experts; None at a last level, or where there is one expert.
        gating: what the gates read, and how they weigh.
    """

    selection: Tensor | None

    def __init__(
        self,
        experts: Parallel,
        gates: Sequence[Gate | FixedWeights | None],
        *,
        n_own: Sequence[int],
        shared_gate: Gate | FixedWeights | None,
        gating: Gating,
    ) -> None:
        super().__init__()
        self.experts = experts
        self.gates = nn.ModuleList(cast(Sequence[Gate], gates))
        self.shared_gate = shared_gate
        self.n_shared = len(experts) - sum(n_own)
        self.gating = gating
        self._number(n_own)

    def _number(self, n_own: Sequence[int]) -> None:
        """Find out which experts are whose."""
        ends = [*itertools.accumulate(n_own, initial=0)]
        self.own = [range(*pair) for pair in itertools.pairwise(ends)]  # indices of each stream's own experts
        self.shared = range(ends[-1], ends[-1] + self.n_shared)  # indices of the shared experts
        is_dense = len(set(n_own)) == 1 and n_own[0] > 0 and 1 < len(n_own) <= DENSE_UP_TO
        chosen = _selection(len(n_own), n_own[0], self.n_shared) if is_dense else None
        like = next(self.experts.parameters(), None)
        chosen = chosen if chosen is None or like is None else chosen.to(like)
        self.register_buffer("selection", chosen, persistent=False)  # from weights of streams to those of all experts

    # ---------------------------------------------------------------- parts

    @property
    def n_own(self) -> list[int]:
        """Number of own experts of each stream."""
        return [len(each) for each in self.own]

    def gate(self, stream: int) -> Gate | FixedWeights | None:
        """The gate of a stream, or what is left of one in an exported network."""
        return cast(Gate | FixedWeights | None, self.gates[stream])

    def select(
        self, streams: Sequence[int], *, experts: Sequence[int], gates: Sequence[int], has_shared_gate: bool
    ) -> ExpertLevel:
        """A level with some of the modules of this one (not copies).

        Args:
            streams: its streams; the shared experts stay in any case.
            experts: streams whose own experts are needed.
            gates: streams whose gate is.
            has_shared_gate: whether the gate of the shared stream is.
        """
        own = [self.own[stream] if stream in experts else range(0) for stream in streams]
        indices = [*(index for each in own for index in each), *self.shared]
        return ExpertLevel(
            Parallel([self.experts[index] for index in indices]),
            [self.gate(stream) if stream in gates else None for stream in streams],
            n_own=[len(each) for each in own],
            shared_gate=self.shared_gate if has_shared_gate else None,
            gating=self.gating,
        ).train(self.training)

    def add_stream(self, experts: Sequence[nn.Module]) -> None:
        """One more stream, in place, with a new gate; the gate of the shared stream does not read its experts."""
        modules, first = [*self.experts], self.shared.start
        gate = self.gating.build(len(experts) + self.n_shared)
        if gate is not None:
            gate = gate.to(next(self.parameters())).train(self.training)
        self.experts = Parallel([*modules[:first], *experts, *modules[first:]])
        self.gates.append(cast(Gate, gate))
        self._number([*self.n_own, len(experts)])

    # ---------------------------------------------------------------- computation

    def outputs(self, streams: Sequence[int], states: Sequence[Any], common: Any = None) -> Tensor:
        """Outputs (experts, B, ...) of own experts of streams, in order, then of the shared ones if they get an input.

        Args:
            streams: the streams.
            states: what their own experts read.
            common: what the shared experts read; None: they are left out.
        """
        members = [index for stream in streams for index in self.own[stream]]
        inputs = [state for stream, state in zip(streams, states, strict=True) for _ in self.own[stream]]
        if common is not None:
            members += self.shared
            inputs += [common] * self.n_shared
        return outputs_of(self.experts, inputs, members=members)

    def shared_state(self, state: Any, outputs: Tensor) -> Tensor:
        """The next state of the shared stream from the outputs of all experts that feed it."""
        return mixture_of(self.shared_gate, self.gating, state, outputs=[outputs])

    def states(self, streams: Sequence[int], states: Sequence[Any], outputs: Tensor) -> Tensor:
        """The next states (streams, B, ...) of streams that see the same rows.

        Args:
            streams: the streams.
            states: what their gates read, (B, ...) each.
            outputs: of their own experts, in order, then of the shared ones.
        """
        every = list(self.gates)
        gates = [every[stream] for stream in streams]
        if computes_together(self) and len(streams) > 1:
            weights = self._weights(gates, states)
            if weights is not None:
                return self._mix_streams(outputs, weights, is_all=list(streams) == list(range(len(every))))
        *pieces, shared = outputs.split([*(len(self.own[stream]) for stream in streams), self.n_shared])
        each = zip(gates, states, pieces, strict=True)
        return torch.stack([mixture_of(gate, self.gating, state, outputs=[own, shared]) for gate, state, own in each])

    def _mix_streams(self, outputs: Tensor, weights: Tensor, *, is_all: bool) -> Tensor:
        """Mixtures (G, B, ...) of own experts, m for each of G streams, and shared ones; weights (G, B, m + shared)."""
        n_own = weights.shape[2] - self.n_shared
        if n_own == 0:
            return mix_for_gates(outputs, weights)
        if is_all and self.selection is not None:
            return mix_for_gates(outputs, torch.bmm(weights, self.selection.to(weights.dtype)))
        of_own, of_shared = weights.split([n_own, self.n_shared], dim=2)
        own, shared = outputs.split([len(weights) * n_own, self.n_shared])
        mixed = _mix_own(own, of_own)
        return mixed + mix_for_gates(shared, of_shared) if self.n_shared else mixed

    def states_apart(self, streams: Sequence[int], states: Sequence[Tensor], *, shared: Tensor | None) -> Tensor | None:
        """The next states (streams, b, ...) of streams with b rows each; None if their gates are not of one form.

        Args:
            streams: the streams.
            states: (b, ...) for each.
            shared: outputs (shared experts, streams * b, ...) on the rows of all of them.
        """
        weights = self._weights([self.gate(stream) for stream in streams], states)
        if weights is None:
            return None
        of_own, of_shared = weights.split([weights.shape[2] - self.n_shared, self.n_shared], dim=2)
        parts = [_mix_own(self.outputs(streams, states), of_own)] if of_own.shape[2] else []
        parts += [] if shared is None else [mix_apart(shared, of_shared)]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def _weights(self, gates: Sequence[nn.Module | None], states: Sequence[Any]) -> Tensor | None:
        """Weights (G, B, n) of gates of one form, else None."""
        there = [gate for gate in gates if isinstance(gate, Gate)]
        if len(there) < len(gates):
            return None
        if all(state is states[0] for state in states):
            return weigh_together(there, [self.gating.rows(states[0])] * len(states))
        return weigh_together(there, [self.gating.rows(state) for state in states])


def outputs_of(experts: Parallel, inputs: Sequence[Any], *, members: Sequence[int]) -> Tensor:
    """Outputs (members, B, ...) of experts, each with its own input.

    Raises:
        TaskError: they cannot be mixed.
    """
    try:
        found = experts.stack(inputs, members=members)
    except TaskError as error:
        raise TaskError(f"experts are mixed as tensors of one shape, but {error}") from error
    if found.ndim < 3:
        raise TaskError(f"an expert returned {tuple(found.shape[1:])}; expected (batch, features) or more axes")
    return found


def mixture_of(gate: nn.Module | None, gating: Gating, state: Any, *, outputs: Sequence[Tensor]) -> Tensor:
    """The mixture (B, ...) of one gate, from blocks (experts, B, ...) of which some may be empty."""
    if gate is None:
        return torch.cat(list(outputs))[0]
    weights = gate(gating.rows(state))
    if computes_together(gate):
        return mix_for_gates(torch.cat(list(outputs)), weights.unsqueeze(0)).squeeze(0)
    return mix([output for part in outputs for output in part.unbind(0)], weights)


def _selection(n_streams: int, n_own: int, n_shared: int) -> Tensor:
    """0 and 1 (streams, own + shared, all): which of all experts are the own and the shared ones of each stream."""
    chosen = torch.zeros(n_streams, n_own + n_shared, n_streams * n_own + n_shared)
    for stream in range(n_streams):
        chosen[stream, :n_own, stream * n_own : (stream + 1) * n_own] = torch.eye(n_own)
        chosen[stream, n_own:, n_streams * n_own :] = torch.eye(n_shared)
    return chosen


def _mix_own(own: Tensor, weights: Tensor) -> Tensor:
    """Mixtures (G, B, ...) of own experts (G m, B, ...), m for each of G streams, with weights (G, B, m)."""
    flat = own.flatten(2) * weights.to(own.dtype).movedim(2, 1).flatten(0, 1).unsqueeze(2)
    return flat.reshape(len(weights), -1, *own.shape[1:]).sum(1)
