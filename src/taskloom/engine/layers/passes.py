"""Propagate gradients as a plan says, and hand what arrives to the parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from taskloom.engine.layers.cotangents import Cotangents
from taskloom.engine.layers.few_labels import FewLabels, LabelPass
from taskloom.engine.layers.frontier import Frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.heads import HeadGradients
from taskloom.engine.layers.owners import ByRow
from taskloom.engine.layers.part import Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.layers.row_tasks import RowTasks
from taskloom.engine.layers.taps import Sink, Taps

__all__ = ["Passes"]

_log = logging.getLogger(__name__)


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
        self.graph, self.losses, self.remaining, self.leaves = graph, losses, remaining, leaves
        self.heads: HeadGradients = {}
        self.rest = list(remaining.parameters)
        self.calls = [(part, place, call) for part in parts for place, call in enumerate(part.layer.calls)]
        others = [*self.rest, *(leaf for of_task in leaves.values() for leaf in of_task)]
        self.taps = Taps(
            graph, [call.node for *_, call in self.calls], [graph.accumulators[id(leaf)] for leaf in others]
        )

    # -- from the losses --------------------------------------------------------------------------------------

    def task_by_task(self) -> None:
        """One pass from every loss, through what it reaches."""
        for task, loss in enumerate(self.losses):
            if loss is None:
                continue
            own = self.leaves.get(task, [])
            found = self.taps.run([loss], [*self.rest, *own], None, self._of_task(task))
            if self.rest:
                self.remaining.take(task, found[: len(self.rest)])
            self._collect(task, own, found[len(self.rest) :])

    def _of_task(self, task: int) -> Sink:
        """Takes what arrives in the pass of one task."""

        def sink(number: int, gradient: Tensor) -> None:
            part, place, call = self.calls[number]
            if not isinstance(call.owner, ByRow):
                part.take(place, task, gradient.unsqueeze(0))
                return
            for owner, rows in call.owner.slices(gradient.shape[0]):
                if owner == task:
                    own_rows = gradient[rows]
                    tasks = RowTasks.of_task(task, own_rows.shape[0], own_rows.device)
                    part.take_rows(place, tasks, own_rows, rows)

        return sink

    def one_pass(self) -> None:
        """One pass of the summed losses, for graphs in which every gradient belongs to one task, or every row of it."""

        def sink(number: int, gradient: Tensor) -> None:
            part, place, call = self.calls[number]
            if isinstance(call.owner, ByRow):
                part.take_rows(place, RowTasks.of_owner(call.owner, gradient.shape[0], gradient.device), gradient)
            else:
                part.take(place, call.owner, gradient.unsqueeze(0))

        owners = [self.graph.owner(self.graph.accumulators[id(one)]) for one in self.rest]
        own = [(task, leaf) for task, leaves in self.leaves.items() for leaf in leaves]
        roots = [loss for loss in self.losses if loss is not None]
        found = self.taps.run(roots, [*self.rest, *(leaf for _, leaf in own)], None, sink)
        for task in self.graph.roots if self.rest else ():
            gradients = found[: len(self.rest)]
            chosen = [one if owner == task else None for one, owner in zip(gradients, owners, strict=True)]
            self.remaining.take(task, chosen)
        for (task, leaf), gradient in zip(own, found[len(self.rest) :], strict=True):
            self._collect(task, [leaf], [gradient])

    # -- from the features ------------------------------------------------------------------------------------

    def from_features(self, frontier: Frontier, cotangents: Cotangents, at_a_time: int, lease: Lease) -> bool:
        """Propagate the cotangents, several tasks at a time; returns False if that failed and it went one by one."""
        roots = frontier.targets()
        is_batched = at_a_time > 1
        for first, last in _stretches(cotangents.tasks(), at_a_time):
            if is_batched:
                try:
                    found, arrived = self.taps.run_together(roots, self.rest, cotangents.together(first, last, lease))
                except (RuntimeError, NotImplementedError, ValueError) as error:
                    _log.info("task gradients are propagated one by one from now on: %s", error)
                    is_batched = False
                else:
                    for number, gradient in arrived:
                        part, place, _ = self.calls[number]
                        part.take(place, first, gradient)
                    if self.rest:
                        self.remaining.take_several(first, found)
                    continue
            for task in range(first, last):
                places, single = cotangents.of_task(task)
                found = self.taps.run([roots[place] for place in places], self.rest, single, self._of_task(task))
                if self.rest:
                    self.remaining.take(task, found)
        return is_batched or at_a_time == 1

    def of_labels(self, frontier: Frontier, labels: FewLabels, cotangents: Cotangents) -> None:
        """As many passes as a row has labels."""
        for one in labels.passes(cotangents):

            def sink(number: int, gradient: Tensor, one: LabelPass = one) -> None:
                part, place, _ = self.calls[number]
                part.take_rows(place, one.of_result(gradient.shape[0]), gradient)

            self.taps.run(frontier.targets(), [], one.cotangents, sink)

    def _collect(self, task: int, leaves: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
        for leaf, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                self.heads[id(leaf)] = (task, gradient)


def _stretches(tasks: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Neighbouring tasks, at most so many together, as (first, last + 1)."""
    found: list[tuple[int, int]] = []
    for task in tasks:
        if found and found[-1][1] == task and task - found[-1][0] < longest:
            found[-1] = (found[-1][0], task + 1)
        else:
            found.append((task, task + 1))
    return found
