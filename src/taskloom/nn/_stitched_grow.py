"""Adding a network to stitched networks, and leaving out what no task reads any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskloom.nn._grow import freeze_module, fresh_copy
from taskloom.nn._stitched_groups import possible_wiring, reached

if TYPE_CHECKING:
    from taskloom.nn._stitched import StitchedNetworks
    from taskloom.nn.model import Freeze

__all__ = ["add_network", "drop_task"]


def add_network(model: StitchedNetworks, pattern: StitchedNetworks, *, freeze: Freeze) -> None:
    """Append a network and a task, in place; the head is left to the caller.

    Args:
        model: a copy of ``pattern`` that knows the task already, frozen as a whole if ``freeze`` says so.
        pattern: where the new network is copied from, and newly drawn.
        freeze: as for ``add_task``.
    """
    n_networks = pattern._n_networks()
    for place, (stage, own) in enumerate(zip(model._stages(), pattern._stages(), strict=True)):
        if freeze == "shared" and place <= model.places[-1]:
            freeze_module(stage)
        stage.append(fresh_copy(own[-1]))
    for unit in model._units().values():
        unit.add_task()
    if len(pattern.readouts):
        model.readouts.append(pattern._readouts([-1])[0].fresh())
    model.networks = (*model.networks, n_networks)


def drop_task(model: StitchedNetworks, index: int) -> None:
    """Drop what only one task needs, in place: behind the last unit, and its network if no other task reads that."""
    last = model.places[-1]
    for stage in model._stages()[last + 1 :]:
        del stage[index]
    model._units()[last].forget(row=index)
    if len(model.readouts):
        del model.readouts[index]
    model.networks = (*model.networks[:index], *model.networks[index + 1 :])
    _drop_unread(model)


def _drop_unread(model: StitchedNetworks) -> None:
    """Drop networks that no task reads, in place; freeze what else is not read."""
    last = model.places[-1]
    readers = possible_wiring(model).readers()[: last + 1]
    for network in reversed(range(model._n_networks())):
        if any(before[network] for before, _ in readers):
            continue
        for stage in model._stages()[: last + 1]:
            del stage[network]
        for place, unit in model._units().items():
            unit.forget(row=network if place < last else None, column=network)
        model.networks = tuple(own - (own > network) for own in model.networks)
    for part, tasks, _ in reached(model):
        if not tasks:
            part.requires_grad_(False)
