"""Task gradients that are kept layer by layer, with the interface of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from taskloom.engine.base import Layout, ParameterRows
from taskloom.engine.layers.part import Blocks, Part
from taskloom.engine.layers.pool import Lease
from taskloom.engine.layers.products import own_precision, wide
from taskloom.engine.layers.remaining import RemainingRows
from taskloom.engine.layers.room import Room

__all__ = ["LayerRows"]


class LayerRows(ParameterRows):
    """The task gradients of some parameters, in parts.

    Inner products and combinations come from the parts. ``blocks``, the rows themselves, are made when they are asked
    for: at K gradients of all parameters they are what the parts are there to avoid.

    Args:
        parts: layers with a rule.
        remaining: the other parameters.
        places: position of each of those among the parameters.
        room: where these parameters, and layers whose weight gradients are kept, stand side by side.
        layout: all parameters, also those that no loss reaches.
        leaves: every leaf that the losses reach.
        heads: gradients of leaves outside that one task alone reaches.
        lease: the memory of the parts.
        dtype: precision of inner products; None for that of the gradients.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        remaining: RemainingRows,
        places: Sequence[int],
        *,
        room: Room,
        layout: Layout,
        leaves: tuple[Tensor, ...],
        heads: Mapping[int, tuple[int, Tensor]],
        lease: Lease,
        dtype: torch.dtype | None,
        factor: float = 1.0,
    ) -> None:
        kept = {
            "parts": tuple(parts),
            "remaining": remaining,
            "places": tuple(places),
            "room": room,
            "layout": layout,
            "leaves": leaves,
            "heads": heads,
            "lease": lease,
            "dtype": dtype,
            "factor": factor,
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)  # the class is frozen

    parts: tuple[Part, ...]
    remaining: RemainingRows
    places: tuple[int, ...]
    room: Room
    lease: Lease
    dtype: torch.dtype | None
    factor: float

    @property
    def n_tasks(self) -> int:
        """Number of rows K."""
        return self.remaining.n_tasks

    def __getattr__(self, name: str) -> Any:
        if name != "blocks":
            raise AttributeError(name)
        blocks = self._rows()
        object.__setattr__(self, "blocks", blocks)
        return blocks

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_tasks} tasks, {len(self.layout.parameters)} parameters)"

    def gramian(self) -> Tensor:
        """J J^T, shape (K, K), added up in float64."""
        device = self.layout.parameters[0].device
        total = torch.zeros(self.n_tasks, self.n_tasks, dtype=wide(device), device=device)
        with own_precision(device):
            for part in self._with_own_memory():
                total += part.gramian(self.dtype).to(device)
            rest = self.room.gramian(self.dtype)
        if rest is not None:
            total += rest.to(device)
        return (total + total.T) / (2 * self.factor**2)

    def gradients(self, weights: Tensor) -> list[Tensor | None]:
        """J^T w, one tensor per parameter; None for those that no loss reaches."""
        weights = weights / self.factor
        found: list[Tensor | None] = [None] * len(self.layout.parameters)
        with own_precision(self.layout.parameters[0].device):
            for part in self._with_own_memory():
                for place, gradient in zip(part.layer.places, part.combine(weights), strict=True):
                    found[place] = gradient
            of_room = zip(map(id, self.room.parameters), self.room.combine(weights), strict=True)
            known = dict(of_room)
        for place, parameter in enumerate(self.layout.parameters):
            if id(parameter) in known:
                found[place] = known[id(parameter)]
        return found

    def _with_own_memory(self) -> list[Part]:
        return [part for part in self.parts if not (isinstance(part, Blocks) and part.is_guest)]

    def combine(self, weights: Tensor) -> tuple[Tensor, ...]:
        """J^T w per block, in the dtype of the block."""
        return self.layout.flatten(self.gradients(weights))

    def divided(self, factor: float) -> LayerRows:
        """The rows of losses that are smaller by a factor."""
        return LayerRows(
            self.parts,
            self.remaining,
            self.places,
            room=self.room,
            layout=self.layout,
            leaves=self.leaves or (),
            heads={leaf: (task, gradient / factor) for leaf, (task, gradient) in self.heads.items()},
            lease=self.lease,
            dtype=self.dtype,
            factor=self.factor * factor,
        )

    def _rows(self) -> tuple[Tensor, ...]:
        found: list[Tensor | None] = [None] * len(self.layout.parameters)
        with own_precision(self.layout.parameters[0].device):
            for part in self.parts:
                for place, rows in zip(part.layer.places, part.rows(), strict=True):
                    found[place] = rows
        for place, rows in zip(self.places, self.remaining.rows(), strict=True):
            found[place] = rows
        blocks = []
        for group in self.layout.groups:
            columns = []
            for place in group:
                known, parameter = found[place], self.layout.parameters[place]
                columns.append(parameter.new_zeros(self.n_tasks, parameter.numel()) if known is None else known)
            blocks.append(torch.cat(columns, dim=1).detach().div_(self.factor))
        return tuple(blocks)
