"""Low-rank updates of frozen layers: ``W x + b + s_0 B_0 A_0 x + s_t B_t A_t x``."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["AdaptedLayer", "LowRank"]


class LowRank(nn.Module):
    """``x -> scale * B A x`` for a linear layer or a convolution; 0 at the start, since B is.

    Args:
        layer: the layer whose update this is: ``nn.Linear``, or ``nn.Conv2d`` without groups.
        rank: r, 1 or more.
        scale: s, usually alpha / r.
        dropout: probability of dropping an input of the update.
        parts: sizes of the slices of the outputs that get an update of their own (queries, keys and values computed by
            one layer); default one slice.
    """

    def __init__(self, layer: nn.Module, rank: int, *, scale: float, dropout: float, parts: Sequence[int] = ()) -> None:
        super().__init__()
        self.scale = scale
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        sizes = tuple(parts) or (_outputs(layer),)
        if sum(sizes) != _outputs(layer):
            raise TaskError(f"split={sizes} adds up to {sum(sizes)}, but the layer has {_outputs(layer)} outputs")
        self.down = nn.ModuleList(_down(layer, rank) for _ in sizes)
        self.up = nn.ModuleList(_up(layer, rank, size) for size in sizes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A from U(-1/sqrt(d_in), 1/sqrt(d_in)) (Kaiming's with a = sqrt 5), B zero."""
        for down, up in zip(self.down, self.up, strict=True):
            nn.init.kaiming_uniform_(_weight(down), a=math.sqrt(5))
            nn.init.zeros_(_weight(up))

    def forward(self, inputs: Tensor) -> Tensor:
        inputs = self.dropout(inputs)
        parts = [up(down(inputs)) for down, up in zip(self.down, self.up, strict=True)]
        axis = 1 if isinstance(self.up[0], nn.Conv2d) else -1
        return self.scale * (parts[0] if len(parts) == 1 else torch.cat(parts, dim=axis))

    def weight(self) -> Tensor:
        """``scale * B A`` in the shape of the layer's weight."""
        rows = []
        for down, up in zip(self.down, self.up, strict=True):
            a, b = _weight(down), _weight(up)
            rows.append((b.flatten(1) @ a.flatten(1)).reshape(len(b), *a.shape[1:]))
        return self.scale * torch.cat(rows)


class AdaptedLayer(nn.Module):
    """A frozen layer with a low-rank update for all tasks and one per task, of which one is selected at a time.

    Args:
        base: the layer; it is frozen by the caller.
        common: the update for all tasks, or None.
        own: one update per task, None for tasks without.

    Attributes:
        selected: index of the task whose update counts.
    """

    def __init__(self, base: nn.Module, common: LowRank | None, own: Sequence[LowRank | None]) -> None:
        super().__init__()
        self.base = base
        self.common = common
        self.own = nn.ModuleList(update if update is not None else nn.Identity() for update in own)
        self.selected = 0

    @property
    def tells_tasks_apart(self) -> bool:
        """Whether any task has an update of its own."""
        return any(isinstance(update, LowRank) for update in self.own)

    def updates(self, index: int) -> list[LowRank]:
        """The updates that count for a task."""
        return [update for update in (self.common, self.own[index]) if isinstance(update, LowRank)]

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.base(inputs)
        for update in self.updates(self.selected):
            output = output + update(inputs)
        return output

    @torch.no_grad()
    def merged(self, index: int) -> nn.Module:
        """A plain layer that computes what this one does for a task."""
        layer = copy.deepcopy(self.base)
        for update in self.updates(index):
            _weight(layer).add_(update.weight().to(_weight(layer)))
        return layer


def _weight(layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.weight


def _outputs(layer: nn.Module) -> int:
    return len(_weight(layer))


def _down(layer: nn.Module, rank: int) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        settings = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
        made = nn.Conv2d(
            layer.in_channels,
            rank,
            layer.kernel_size,  # type: ignore[arg-type]
            bias=False,
            padding_mode=layer.padding_mode,
            **settings,  # type: ignore[arg-type]
        )
        return made.to(layer.weight)
    assert isinstance(layer, nn.Linear)
    return nn.Linear(layer.in_features, rank, bias=False).to(layer.weight)


def _up(layer: nn.Module, rank: int, size: int) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(rank, size, 1, bias=False).to(layer.weight)
    return nn.Linear(rank, size, bias=False).to(_weight(layer))
