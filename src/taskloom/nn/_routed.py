"""One block of experts that every task reads with its own state, through a router of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from taskloom.nn._batching import computes_together, joined_rows
from taskloom.nn._expert_level import Gating, mixture_of, outputs_of
from taskloom.nn.gates.gate import Gate, weigh_together
from taskloom.nn.gates.mix import mix_apart, mix_for_gates
from taskloom.nn.gates.top_k import TopKGate
from taskloom.nn.parallel import Parallel

__all__ = ["RoutedBlock", "Router"]

_SMALLEST = 1e-12  # inside logarithms


@dataclass(frozen=True, kw_only=True)
class Router(TopKGate):
    """The sparse gate, which remembers its scores with their graph for a penalty on all routers together."""

    balance: float = 0.0

    @property
    def has_penalties(self) -> bool:
        return True

    def penalties(self, scores: Tensor, weights: Tensor, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {}

    def probabilities(self, scores: Tensor) -> Tensor:
        """Softmax (..., n) over all experts, without noise."""
        return (scores.chunk(2, -1)[0] if self.noise else scores).softmax(-1)


class RoutedBlock(nn.Module):
    """Experts for all tasks, and for every task a router over some of them.

    Args:
        experts: the experts.
        n_tasks: number of tasks.
        gating: what the routers read, and their rule, a :class:`Router`.
    """

    usage: Tensor

    def __init__(self, experts: Parallel, n_tasks: int, *, gating: Gating) -> None:
        super().__init__()
        self.experts = experts
        self.gating = gating
        self.members = [tuple(range(len(experts))) for _ in range(n_tasks)]  # the experts of each task
        self.numbers = list(range(len(experts)))  # of the experts, as they were when the block was built
        self.gates = nn.ModuleList(cast(Gate, self._new_router(len(experts))) for _ in range(n_tasks))
        # running mean of P(expert | task); rows of 0: not seen yet
        self.register_buffer("usage", torch.zeros(n_tasks, len(experts), dtype=torch.float64))

    def gate(self, task: int) -> Gate | None:
        """The router of a task; None where it has one expert."""
        return cast(Gate | None, self.gates[task])

    def _new_router(self, n_experts: int) -> Gate | None:
        rule = cast(Router, self.gating.rule)
        return (
            replace(self.gating, rule=replace(rule, k=min(rule.k, n_experts))).build(n_experts)
            if n_experts > 1
            else None
        )

    # ---------------------------------------------------------------- computation

    def run(self, states: Sequence[Any], tasks: Sequence[int]) -> list[Tensor]:
        """The next states (B, ...) of tasks with these indices; one object for all is computed once."""
        is_same = all(state is states[0] for state in states)
        joined = None if is_same or not self._is_full else joined_rows(self.experts, states)
        weights = self._weights(states, tasks, is_same=is_same)
        if weights is not None and is_same:
            return list(mix_for_gates(self._outputs(states[0], self.members[tasks[0]]), weights).unbind(0))
        if weights is not None and joined is not None:
            return list(mix_apart(self._outputs(joined, self.members[tasks[0]]), weights).unbind(0))
        outputs = self._outputs_each(states, tasks, joined=joined, is_same=is_same)
        each = zip(tasks, states, outputs, strict=True)
        return [mixture_of(self.gate(task), self.gating, state, outputs=[own]) for task, state, own in each]

    @property
    def _is_full(self) -> bool:
        return all(len(own) == len(self.experts) for own in self.members)

    def _weights(self, states: Sequence[Any], tasks: Sequence[int], *, is_same: bool) -> Tensor | None:
        """Weights (G, B, n) where they can be had in one product, else None."""
        found = [self.gate(task) for task in tasks]
        gates = [gate for gate in found if gate is not None]
        if len(gates) < max(2, len(tasks)) or not self._is_full or not computes_together(self):
            return None
        if is_same:
            return weigh_together(gates, [self.gating.rows(states[0])] * len(states))
        return weigh_together(gates, [self.gating.rows(state) for state in states])

    def _outputs(self, state: Any, members: Sequence[int]) -> Tensor:
        return outputs_of(self.experts, [state] * len(members), members=members)

    def _outputs_each(
        self, states: Sequence[Any], tasks: Sequence[int], *, joined: Tensor | None, is_same: bool
    ) -> Sequence[Tensor]:
        """Outputs of the experts of each task on its state."""
        if joined is not None:
            sizes = [state.shape[0] for state in states]
            blocks: Sequence[Tensor] = self._outputs(joined, self.members[tasks[0]]).split(sizes, dim=1)
            return blocks
        if not is_same:
            return [self._outputs(state, self.members[task]) for state, task in zip(states, tasks, strict=True)]
        used = sorted({member for task in tasks for member in self.members[task]})
        outputs = self._outputs(states[0], used).unbind(0)
        return [torch.stack([outputs[used.index(member)] for member in self.members[task]]) for task in tasks]

    # ---------------------------------------------------------------- which task uses which expert

    def probabilities(self) -> dict[int, Tensor]:
        """Mean router probabilities (n,) over the rows seen last in training, by task; none once tasks keep some."""
        found = {}
        for task in range(len(self.members)) if self._is_full else ():
            gate = self.gate(task)
            seen = None if gate is None else gate.seen()
            if seen is not None:
                found[task] = cast(Router, self.gating.rule).probabilities(seen[0]).mean(0)
        return found

    def mutual_information(self, momentum: float) -> Tensor | None:
        """I(task; expert) in nats of the tasks seen last, each as likely; None for fewer than two.

        Its value is that of the running means with the batch added, its gradient that of the batch.
        """
        seen = self.probabilities()
        if len(seen) < 2:
            return None
        batch = torch.stack(list(seen.values()))  # (K, n)
        before = self.usage[list(seen)].to(batch)
        is_known = before.sum(1, keepdim=True) > 0
        running = torch.where(is_known, momentum * before + (1 - momentum) * batch, batch)
        given = batch + (running - batch).detach()
        logarithms = given.clamp(min=_SMALLEST).log() - given.mean(0).clamp(min=_SMALLEST).log()
        return (given * logarithms).sum(1).mean()

    @torch.no_grad()
    def update_usage(self, momentum: float) -> None:
        """Add the rows seen last to the running means."""
        for task, batch in self.probabilities().items():
            before, batch = self.usage[task], batch.to(self.usage)
            self.usage[task] = momentum * before + (1 - momentum) * batch if bool(before.any()) else batch

    def top(self, keep: int) -> list[tuple[int, ...]]:
        """The experts that each task uses most, in order of their numbers."""
        best = self.usage.topk(min(keep, self.usage.shape[1]), dim=1).indices
        return [tuple(sorted(row)) for row in best.tolist()]

    # ---------------------------------------------------------------- other experts and tasks

    def keep(self, members: Sequence[Sequence[int]]) -> None:
        """Leave each task these of its experts, in place; routers forget the others, and experts of nobody go."""
        used = sorted({member for own in members for member in own})
        gates = [self._reduced(task, own) for task, own in enumerate(members)]
        self.experts = Parallel([self.experts[member] for member in used]).train(self.training)
        self.gates = nn.ModuleList(cast(Sequence[Gate], gates))
        self.members = [tuple(used.index(member) for member in own) for own in members]
        self.numbers = [self.numbers[member] for member in used]
        self.usage = self.usage[:, used]

    def _reduced(self, task: int, members: Sequence[int]) -> Gate | None:
        """The router of a task over some of its experts."""
        gate = self.gate(task)
        if gate is None or gate.n_experts == len(members):
            return gate
        small = self._new_router(len(members))
        if small is None:
            return None
        assert gate.weight is not None
        places = [self.members[task].index(member) for member in members]
        with torch.no_grad():
            rows = gate.weight.unflatten(0, (-1, gate.n_experts))[:, places]  # (scores and spreads, kept, d)
            small = small.to(gate.weight)
            cast(Tensor, small.weight).copy_(rows.flatten(0, 1))
        return small.requires_grad_(gate.weight.requires_grad).train(gate.training)

    def add_task(self) -> None:
        """A router over all experts for one more task, in place."""
        gate = self._new_router(len(self.experts))
        self.gates.append(cast(Gate, gate if gate is None else gate.to(next(self.parameters())).train(self.training)))
        self.members.append(tuple(range(len(self.experts))))
        self.usage = torch.cat([self.usage, self.usage.new_zeros(1, len(self.experts))])

    def forget(self, task: int) -> None:
        """Drop a task, in place, and experts that only it used."""
        del self.gates[task]
        del self.members[task]
        self.usage = torch.cat([self.usage[:task], self.usage[task + 1 :]])
        self.keep(self.members)

    def users(self, expert: int) -> list[int]:
        """Tasks that have an expert."""
        return [task for task, own in enumerate(self.members) if expert in own]
