"""The part of stitched networks that one task needs, as a module of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from taskloom.nn._readout import Readout
from taskloom.nn._wiring import Wiring
from taskloom.nn.mixing import Mixing
from taskloom.nn.parallel import Parallel

__all__ = ["StitchedPath", "path_of"]


class _Step(nn.Module):
    """One stage of the networks that are needed, and the unit behind it.

    Args:
        stages: network -> its stage.
        unit: reads those networks in that order; or None.
        rows: what the rows of the unit are called.
    """

    def __init__(self, stages: Mapping[int, nn.Module], unit: Mixing | None, rows: Sequence[int]) -> None:
        super().__init__()
        self.columns: tuple[int, ...] = tuple(stages)
        self.rows = tuple(rows)
        self.stages = nn.ModuleList(stages.values())
        self.unit = unit

    def forward(self, states: Mapping[int, Any]) -> dict[int, Any]:
        outputs = [stage(states[column]) for column, stage in zip(self.columns, self.stages, strict=True)]
        if self.unit is None:
            return dict(zip(self.columns, outputs, strict=True))
        return dict(zip(self.rows, self.unit(outputs), strict=True))


class StitchedPath(nn.Module):
    """From an input to the outputs of one task: the networks that it depends on, their units, readout and head.

    Args:
        steps: the stages that are needed.
        members: per stage, which feature behind it is the task's own.
        readout: makes the task's features of those behind several stages; None: those behind the last.
        head: the head.
    """

    def __init__(
        self, steps: Sequence[_Step], *, members: Sequence[int], readout: Readout | None, head: nn.Module
    ) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.members = tuple(members)
        self.readout = readout
        self.head = head

    def forward(self, inputs: Any) -> Any:
        first = self.steps[0]
        assert isinstance(first, _Step)
        states: dict[int, Any] = dict.fromkeys(first.columns, inputs)
        read = range(len(self.steps)) if self.readout is None else self.readout.places
        layers = []
        for place, (step, member) in enumerate(zip(self.steps, self.members, strict=True)):
            states = step(states)
            if place in read:
                layers.append(states.get(member))
        return self.head(layers[-1] if self.readout is None else self.readout(layers))


def path_of(
    task: int,
    *,
    wiring: Wiring,
    stages: Sequence[Parallel],
    units: Mapping[int, Mixing],
    readout: Readout | None,
    head: nn.Module,
) -> StitchedPath:
    """The path of a task along the links that a wiring has.

    Args:
        task: index of the task.
        wiring: the links to follow; others are dropped, whatever their weights.
        stages: per stage, the modules of all networks.
        units: stage -> the unit behind it.
        readout: of the task, reading only what the wiring taps; or None.
        head: of the task.
    """
    steps, members = [], []
    for place, (columns, rows) in enumerate(wiring.needed(task)):
        if not columns:
            break  # nothing behind this stage counts
        unit = units.get(place)
        own = None if unit is None else unit.only(rows, columns)
        steps.append(_Step({column: stages[place][column] for column in columns}, own, rows))
        members.append(wiring.member(place, task))
    return StitchedPath(steps, members=members, readout=readout, head=head)
