"""Shortcuts of NDDR networks: fused features of all stages, resized, concatenated, and mapped to the last width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._readout import Readout

__all__ = ["Shortcut"]


class Shortcut(Readout):
    """``W [resize(h_1); ...; resize(h_L)]`` with a 1x1 convolution W, for one task.

    Args:
        places: stages whose features are read; the last one sets the size.
        widths: their numbers of channels.
        dimension: axis of the channels.
    """

    def __init__(self, places: Sequence[int], *, widths: Sequence[int], dimension: int) -> None:
        super().__init__(places)
        self.dimension = dimension
        self.project = nn.Linear(sum(widths), widths[-1])

    def reset_parameters(self) -> None:
        self.project.reset_parameters()

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        last = layers[-1]
        axis = self.dimension % last.ndim
        resized = [_resized(layer, last, axis) for layer in layers]
        together = torch.cat(resized, dim=axis).movedim(axis, -1)
        projected: Tensor = self.project(together)
        return projected.movedim(-1, axis)


def _resized(layer: Tensor, last: Tensor, axis: int) -> Tensor:
    """Average over space until a layer is as large as the last one."""
    if layer.ndim > last.ndim == 2 and axis == 1:
        return layer.flatten(2).mean(2)
    size, wanted = [[*part.shape[:axis], *part.shape[axis + 1 :]] for part in (layer, last)]
    if size == wanted:
        return layer
    if axis != 1 or layer.ndim != last.ndim or not 3 <= layer.ndim <= 5:
        raise TaskError(
            f"the shortcut cannot bring features {tuple(layer.shape)} to the size of {tuple(last.shape)}; it resizes "
            "(n, channels, ...) with one to three axes of space, or averages over all of them"
        )
    pools: tuple[Callable[..., Tensor], ...] = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    return pools[layer.ndim - 3](layer, last.shape[2:])
