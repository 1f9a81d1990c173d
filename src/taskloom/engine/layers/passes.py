"""Propagate gradients as a plan says, and hand what arrives to the parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge

from taskloom.engine.layers.few_labels import FewLabels
from taskloom.engine.layers.frontier import Frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.owners import MIXED, ByRow
from taskloom.engine.layers.part import Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.layers.row_tasks import RowTasks

__all__ = ["Passes", "through_heads"]

_log = logging.getLogger(__name__)

Gradients = Sequence[Tensor | None]


class Passes:
    """The passes of one step.

    Args:
        graph: the graph of the losses.
        losses: one scalar per task, None for an absent task.
        parts: what the gradients of layer outputs are handed to.
        remaining: what the gradients of remaining parameters are handed to.
        leaves: leaves outside, by the one task that reaches them; their gradients are collected on the way.
    """

    def __init__(
        self,
        graph: Graph,
        losses: Sequence[Tensor | None],
        parts: Sequence[Part],
        remaining: RemainingRows,
        leaves: dict[int, list[Tensor]],
    ) -> None:
        self.graph, self.losses, self.parts, self.remaining = graph, losses, parts, remaining
        self.leaves = leaves
        self.heads: dict[int, tuple[int, Tensor]] = {}
        self.rest = list(remaining.layout.parameters)
        self.calls = [
            (part, place, call, GradientEdge(call.node, 0))
            for part in parts
            for place, call in enumerate(part.layer.calls)
        ]
        self.edges = [edge for *_, edge in self.calls]

    # -- from the losses --------------------------------------------------------------------------------------

    def task_by_task(self) -> None:
        """One pass from every loss, through what it reaches."""
        for task, loss in enumerate(self.losses):
            if loss is None:
                continue
            reached = [one for one in self.calls if _reaches(one[2].owner, task)]
            own = self.leaves.get(task, [])
            inputs = [*(edge for *_, edge in reached), *self.rest, *own]
            if not inputs:
                continue
            found = _gradients([loss], inputs)
            for (part, place, call, _), gradient in zip(reached, found, strict=False):
                if gradient is None:
                    continue
                if isinstance(call.owner, ByRow):
                    for owner, rows in call.owner.slices(gradient.shape[0]):
                        if owner == task:
                            own_rows = gradient[rows]
                            tasks = RowTasks.of_task(task, own_rows.shape[0], own_rows.device)
                            part.take_rows(place, tasks, own_rows, rows)
                else:
                    part.take(place, task, gradient.unsqueeze(0))
            n_calls, n_rest = len(reached), len(self.rest)
            if self.rest:
                self.remaining.take(task, found[n_calls : n_calls + n_rest])
            self._collect(task, own, found[n_calls + n_rest :])

    def one_pass(self) -> None:
        """One pass of the summed losses, for graphs in which every gradient belongs to one task, or every row of it."""
        owners = [self.graph.owner(self.graph.accumulators[id(one)]) for one in self.rest]
        own = [(task, leaf) for task, leaves in self.leaves.items() for leaf in leaves]
        roots = [loss for loss in self.losses if loss is not None]
        inputs = [*self.edges, *self.rest, *(leaf for _, leaf in own)]
        found = _gradients(roots, inputs)
        for (part, place, call, _), gradient in zip(self.calls, found, strict=False):
            if gradient is None:
                continue
            if isinstance(call.owner, ByRow):
                part.take_rows(place, RowTasks.of_owner(call.owner, gradient.shape[0], gradient.device), gradient)
            else:
                part.take(place, call.owner, gradient.unsqueeze(0))
        n_calls, n_rest = len(self.calls), len(self.rest)
        for task in self.graph.roots if self.rest else ():
            gradients = found[n_calls : n_calls + n_rest]
            chosen = [one if owner == task else None for one, owner in zip(gradients, owners, strict=True)]
            self.remaining.take(task, chosen)
        for (task, leaf), gradient in zip(own, found[n_calls + n_rest :], strict=True):
            self._collect(task, [leaf], [gradient])

    # -- from the features ------------------------------------------------------------------------------------

    def from_features(self, frontier: Frontier, cotangents: Sequence[Tensor], at_a_time: int) -> bool:
        """Propagate the cotangents, several tasks at a time; returns False if that failed and it went one by one."""
        roots, inputs = frontier.targets(), [*self.edges, *self.rest]
        is_batched = at_a_time > 1
        for first, last in _stretches(_tasks_with_gradient(cotangents), at_a_time):
            chunk = [one[first:last] for one in cotangents]
            if is_batched:
                try:
                    found = _gradients(roots, inputs, chunk, is_batched=True)
                except (RuntimeError, NotImplementedError, ValueError) as error:
                    _log.info("task gradients are propagated one by one from now on: %s", error)
                    is_batched = False
                else:
                    self._take(first, found)
                    continue
            for task in range(first, last):
                single = [one[task] for one in cotangents]
                found = _gradients(roots, inputs, single)
                dense = [one.to_dense() if one is not None and one.is_sparse else one for one in found]
                self._take(task, [None if one is None else one.unsqueeze(0) for one in dense])
        return is_batched or at_a_time == 1

    def of_labels(self, frontier: Frontier, labels: FewLabels) -> None:
        """As many passes as a row has labels."""
        roots = frontier.targets()
        for one in labels.passes():
            found = _gradients(roots, self.edges, one.cotangents)
            for (part, place, _, _), gradient in zip(self.calls, found, strict=True):
                if gradient is not None:
                    part.take_rows(place, one.of_result(gradient.shape[0]), gradient)

    def _take(self, first: int, found: Sequence[Tensor | None]) -> None:
        for (part, place, _, _), gradient in zip(self.calls, found, strict=False):
            if gradient is not None:
                part.take(place, first, gradient)
        if self.rest:
            self.remaining.take_several(first, found[len(self.calls) :])

    def _collect(self, task: int, leaves: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                self.heads[id(leaf)] = (task, gradient)


def through_heads(
    graph: Graph,
    losses: Sequence[Tensor | None],
    leaves: dict[int, list[Tensor]],
    frontier: Frontier,
    lease: Lease,
    labels: FewLabels | None,
) -> tuple[list[Tensor] | None, dict[int, tuple[int, Tensor]]]:
    """Go through the heads once in all.

    Args:
        graph: the graph of the losses.
        losses: one scalar per task, None for an absent task.
        leaves: leaves of heads, by the one task that reaches them.
        frontier: where heads end.
        lease: where to take memory from.
        labels: where to keep cotangents as long as labels are few.

    Returns:
        Z (K, *edge) per edge, or None if they are with the labels; and the gradients of the leaves.
    """
    heads: dict[int, tuple[int, Tensor]] = {}
    if frontier.is_stacked:
        own = [(task, leaf) for task, of_task in leaves.items() for leaf in of_task]
        sources = frontier.ends_of_heads()
        roots = [loss for loss in losses if loss is not None]
        found = _gradients(roots, [*sources, *(leaf for _, leaf in own)])
        into = frontier.empty(len(losses), lease)
        frontier.stacked_cotangents(found[: len(sources)], into)
        for (task, leaf), gradient in zip(own, found[len(sources) :], strict=True):
            if gradient is not None:
                heads[id(leaf)] = (task, gradient)
        if labels is not None and all(labels.offer(task, [one[task] for one in into]) for task in graph.roots):
            return None, heads
        return into, heads
    targets = frontier.targets()
    whole: list[Tensor] | None = None
    for task, loss in enumerate(losses):
        places, of_task = frontier.of_task.get(task, []), leaves.get(task, [])
        found = ()
        if loss is not None and (places or of_task):
            found = _gradients([loss], [*(targets[place] for place in places), *of_task])
        for leaf, gradient in zip(of_task, found[len(places) :], strict=False):
            if gradient is not None:
                heads[id(leaf)] = (task, gradient)
        given = dict(zip(places, found, strict=False))
        arrived = [given.get(place) for place in range(len(targets))]
        if whole is None and labels is not None:
            if all(one is None for one in arrived):
                continue
            if labels.offer(task, frontier.filled(arrived)):
                continue
        if whole is None:
            whole = frontier.empty(len(losses), lease)
            for one in whole:
                one[:task].zero_()
            if labels is not None:
                labels.restore(whole)
        for one, gradient in zip(whole, arrived, strict=True):
            one[task].zero_() if gradient is None else one[task].copy_(gradient)
    return whole, heads


def _gradients(
    roots: Sequence[Any], inputs: Sequence[Any], cotangents: Sequence[Tensor] | None = None, *, is_batched: bool = False
) -> Gradients:
    """Gradients of the sum of the roots; the graph is kept."""
    found: Gradients = torch.autograd.grad(
        roots, inputs, cotangents, retain_graph=True, allow_unused=True, is_grads_batched=is_batched
    )
    return found


def _reaches(owner: Any, task: int) -> bool:
    return task in owner.tasks if isinstance(owner, ByRow) else owner in (MIXED, task)


def _tasks_with_gradient(cotangents: Sequence[Tensor]) -> list[int]:
    """Tasks whose cotangents are not all zero: a task without a label in the batch needs no pass."""
    n_tasks = cotangents[0].shape[0]
    if cotangents[0].device.type != "cpu":
        found = sum((one != 0).reshape(n_tasks, -1).any(1).long() for one in cotangents)
        assert isinstance(found, Tensor)
        return [task for task, is_there in enumerate(found.tolist()) if is_there]
    first_look: Callable[[Tensor], bool] = lambda one: bool(one.reshape(-1)[:64].any()) or bool(one.any())  # noqa: E731
    return [task for task in range(n_tasks) if any(first_look(one[task]) for one in cotangents)]


def _stretches(tasks: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Neighbouring tasks, at most so many together, as (first, last + 1)."""
    found: list[tuple[int, int]] = []
    for task in tasks:
        if found and found[-1][1] == task and task - found[-1][0] < longest:
            found[-1] = (found[-1][0], task + 1)
        else:
            found.append((task, task + 1))
    return found
