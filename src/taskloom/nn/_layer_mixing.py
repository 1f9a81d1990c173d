"""Layer mixing of sluice networks: a task's features are a weighted sum over stages, ``sum_l beta_l P_l h_l``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import computes_together
from taskloom.nn._combine import combine, combine_one_by_one
from taskloom.nn._readout import Readout
from taskloom.nn.cost import layer_macs

__all__ = ["LayerMixing"]


class LayerMixing(Readout):
    """A weighted sum of the features behind all stages of one task.

    Args:
        start: initial weights (L,), one per stage; with one stage the weight is fixed.
        projections: per stage, a map of the channels to the width of the last stage, or None.
        dimension: axis of the channels.
    """

    def __init__(self, start: Tensor, *, projections: Sequence[nn.Module | None], dimension: int) -> None:
        super().__init__(range(len(start)))
        self.start = start
        self.dimension = dimension
        learns = len(start) > 1
        self.beta = nn.Parameter(start.to(torch.get_default_dtype()), requires_grad=learns)
        self.projections = nn.ModuleList(
            nn.Identity() if projection is None else projection for projection in projections
        )

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        projected = [
            projection(layer.movedim(self.dimension, -1)).movedim(-1, self.dimension)
            if isinstance(projection, nn.Linear)
            else layer
            for projection, layer in zip(self.projections, layers, strict=True)
        ]
        self._check(projected)
        mix = combine if computes_together(self) else combine_one_by_one
        return mix(self.beta.unsqueeze(0), projected, dimension=self.dimension % projected[0].ndim)[0]

    def _check(self, layers: Sequence[Tensor]) -> None:
        if any(layer.shape != layers[-1].shape for layer in layers):
            shapes = {f"stage {place}": tuple(layer.shape) for place, layer in zip(self.places, layers, strict=True)}
            raise TaskError(
                f"layer mixing adds the features behind all stages, whose shapes differ: {shapes}; give project=True "
                "for other widths, or stages that keep the size of images"
            )

    def reset_parameters(self) -> None:
        with torch.no_grad():
            self.beta.copy_(self.start)
        for projection in self.projections:
            if isinstance(projection, nn.Linear):
                projection.reset_parameters()

    def may_use(self) -> list[bool]:
        return [True] * len(self.places) if self.beta.requires_grad else self.used()

    def used(self, tolerance: float = 0.0) -> list[bool]:
        return (self.beta.detach().abs() > tolerance).tolist()

    def only(self, kept: Sequence[int]) -> Self:
        other = super().only(kept)
        index = list(kept)
        other.start = self.start[index]
        other.beta = nn.Parameter(self.beta.detach()[index].clone())
        other.projections = nn.ModuleList(other.projections[position] for position in kept)
        return other

    def fresh(self) -> Self:
        other = super().fresh()
        other.beta.requires_grad_(len(self.start) > 1)
        return other


@layer_macs.register
def _layer_macs(layer: LayerMixing, inputs: tuple[Any, ...], *, output: Any) -> int:
    """One product per element and stage that is read."""
    return int(output.numel()) * len(layer.places)
