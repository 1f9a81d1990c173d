"""Which parameters of stitched networks the losses of which tasks can reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from torch import nn

from taskloom.nn._readout import Readout
from taskloom.nn._wiring import Links, Wiring
from taskloom.nn.mixing import Mixing

if TYPE_CHECKING:
    from taskloom.nn._stitched import StitchedNetworks

__all__ = ["possible_wiring", "reached", "wiring_of"]


def wiring_of(
    model: StitchedNetworks, links: Callable[[Mixing], Links], *, taps: Callable[[Readout], list[bool]]
) -> Wiring:
    """The wiring of a model.

    Args:
        model: the model; while it is not stitched, it has no links.
        links: unit -> the links that count.
        taps: readout -> which of the stages that it reads count; where none does, the last stage is taken.
    """
    units = model._units() if model.is_stitched else {}
    n_stages, tasks = len(model.stages), range(len(model.networks))
    tapped = [[place == n_stages - 1 for place in range(n_stages)] for _ in tasks]
    for task, readout in enumerate(model._readouts(tasks) if model.is_stitched else []):
        read = {place for place, counts in zip(readout.places, taps(readout), strict=True) if counts}
        if read:
            tapped[task] = [place in read for place in range(n_stages)]
    found = [links(units[place]) if place in units else None for place in range(n_stages)]
    return Wiring(found, model.networks if units else tasks, tapped)


def possible_wiring(model: StitchedNetworks) -> Wiring:
    """All links that have a weight or can learn one."""
    return wiring_of(model, Mixing.may_use, taps=lambda readout: readout.may_use())


def reached(model: StitchedNetworks) -> Iterator[tuple[nn.Module | nn.Parameter, int, bool]]:
    """Every part, the tasks whose losses can reach it (as bits), and whether it belongs to the last unit or before."""
    wiring, units = possible_wiring(model), model._units() if model.is_stitched else {}
    for place, (stage, (before, behind)) in enumerate(zip(model._stages(), wiring.readers(), strict=True)):
        early = place <= model.places[-1]
        members = range(len(stage)) if units else [model._member(place, index) for index in wiring.networks]
        for member, tasks in zip(members, before, strict=True):
            yield stage[member], tasks, early
        if place in units:
            for block, rows in units[place].blocks():
                yield block, reduce(or_, (behind[row] for row in rows)), early
            for finish, tasks in zip(units[place].finishes, behind):
                yield finish, tasks, early
    for index, head in enumerate(model.heads):
        yield head, 1 << index, False
    for index, readout in enumerate(model.readouts if model.is_stitched else []):
        yield readout, 1 << index, False
