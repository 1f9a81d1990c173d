"""Features of every task at every scale, from the smallest map to the largest: the shared part of MTI-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.nn._layout import one_by_one
from taskloom.nn.encoders._blocks import Norm, conv_block
from taskloom.nn.parallel import Parallel

__all__ = ["Pyramid", "enlarged"]


def enlarged(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear interpolation to the size of ``like``."""
    if features.shape[2:] == like.shape[2:]:
        return features
    return F.interpolate(features, size=like.shape[2:], mode="bilinear", align_corners=False)


class SqueezeExcite(nn.Module):
    """Scale every channel by what its means over the image say: ``x * sigmoid(W_2 relu(W_1 mean(x)))``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(4, channels // 4)
        self.first = nn.Linear(channels, inner)
        self.second = nn.Linear(inner, channels)

    def forward(self, features: Tensor) -> Tensor:
        scale: Tensor = self.second(self.first(features.mean((2, 3))).relu()).sigmoid()
        return features * scale[:, :, None, None]


class Propagation(nn.Module):
    """Features of all tasks at one scale, mixed for the next one.

    The features of all tasks are joined; a non-linear block scores every task at every channel and position, softmax
    over tasks; what that lets through is reduced to the channels of one task; each task scales the channels of that and
    adds its own features.
    """

    def __init__(self, n_tasks: int, channels: int, norm: Norm) -> None:
        super().__init__()
        joined = n_tasks * channels
        inner = max(1, joined // 4)
        blocks = (conv_block(joined, inner, norm=norm), conv_block(inner, inner, norm=norm))
        # softmax over a single task is 1, whatever the scores
        self.scores = nn.Sequential(*blocks, nn.Conv2d(inner, joined, 1)) if n_tasks > 1 else None
        self.reduce = conv_block(joined, channels, norm=norm)
        self.own = nn.ModuleList(SqueezeExcite(channels) for _ in range(n_tasks))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        joined = torch.cat(list(features), dim=1)
        if self.scores is not None:
            shape = (len(features), features[0].shape[1])
            weights = self.scores(joined).unflatten(1, shape).softmax(1)  # (n, K, C, h, w)
            joined = (weights * joined.unflatten(1, shape)).flatten(1, 2)
        common = self.reduce(joined)
        return [own(common) + feature for own, feature in zip(self.own, features, strict=True)]


class Scale(nn.Module):
    """Features of all tasks at one scale, from those of the encoder and what comes from the scale below.

    Args:
        in_channels: channels of the encoder's features.
        channels: channels of a task's features.
        n_tasks: number of tasks.
        norm: makes the normalisation of a number of channels.
        is_smallest: whether no scale is below.
    """

    def __init__(self, in_channels: int, channels: int, *, n_tasks: int, norm: Norm, is_smallest: bool) -> None:
        super().__init__()
        self.propagate = None if is_smallest else Propagation(n_tasks, channels, norm)
        into = in_channels if is_smallest else in_channels + channels
        branches = [
            nn.Sequential(conv_block(into, channels, norm=norm), conv_block(channels, channels, norm=norm))
            for _ in range(n_tasks)
        ]
        self.branches = one_by_one(Parallel(branches))

    def forward(self, encoded: Tensor, below: Sequence[Tensor] | None) -> list[Tensor]:
        if self.propagate is None or below is None:
            return self.branches.run_same(encoded)
        passed = [enlarged(part, encoded) for part in self.propagate(below)]
        return self.branches.run([torch.cat([encoded, part], dim=1) for part in passed])


class Pyramid(nn.Module):
    """Encoder and scales.

    Args:
        stages: stages of the encoder.
        scales: the scales, that of the last stage first.
    """

    def __init__(self, stages: Sequence[nn.Module], scales: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.scales = nn.ModuleList(scales)

    def up_to(self, number: int) -> Pyramid:
        """The same modules without the scales above that of stage ``number``."""
        return Pyramid(list(self.stages), list(self.scales)[: len(self.stages) - number])

    def forward(self, images: Any, lowest: int = 0) -> dict[int, list[Tensor]]:
        """Stage number -> features of all tasks, from the last stage down to ``lowest``."""
        encoded: list[Tensor] = []
        for stage in self.stages:
            images = stage(images)
            encoded.append(images)
        found: dict[int, list[Tensor]] = {}
        below: list[Tensor] | None = None
        for scale, number in zip(self.scales, reversed(range(len(encoded))), strict=False):
            if number < lowest:
                break
            below = found[number] = scale(encoded[number], below)
        return found
