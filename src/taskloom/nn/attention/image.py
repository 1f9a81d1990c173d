"""Attention for images (n, C, height, width)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.attention._mask import PositionMask
from taskloom.nn.attention.base import Attention

__all__ = ["ImageAttention"]


@dataclass(frozen=True)
class ImageAttention(Attention):
    """The attention of the published network: masks of 1x1 convolutions, one 3x3 convolution from stage to stage.

    mask: 1x1 convolution to m channels, batch normalisation, ReLU, 1x1 convolution to C channels, batch normalisation,
    sigmoid. refine: 3x3 convolution without bias; norm: normalisation and ReLU. resize: max-pooling where the next
    stage is smaller (any sizes), bilinear interpolation where it is larger, as in a decoder.

    Args:
        reduction: C / m; default 1 as in the network on VGG-16, 4 in the one on bottleneck ResNets.
        open_init: initial shift of the last normalisation of the masks; 0 (default) makes masks of about one half, 2
            of about 0.9.
        refine_norm: the normalisation behind refine: ``"shared"`` batch normalisation for all tasks (default, as
            published; its statistics see one batch per task), ``"per_task"`` one for each, or ``"group"``
            normalisation, which has no batch statistics.

    Raises:
        TaskError: a reduction below 1, or an unknown refine_norm.

    Example:
        >>> import torch
        >>> attention = ImageAttention(reduction=2)
        >>> attention.mask(16, 8)(torch.zeros(2, 16, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    reduction: int = 1
    open_init: float = 0.0
    refine_norm: Literal["shared", "per_task", "group"] = "shared"

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise TaskError(f"reduction must be 1 or more, found {self.reduction}")
        if self.refine_norm not in ("shared", "per_task", "group"):
            raise TaskError(f"refine_norm must be 'shared', 'per_task' or 'group', found {self.refine_norm!r}")

    @property
    def norm_per_task(self) -> bool:
        """Whether each task has a normalisation of its own behind a shared ``refine``."""
        return self.refine_norm == "per_task"

    def mask(self, in_channels: int, channels: int) -> nn.Module:
        """A :class:`PositionMask` with batch normalisation."""
        return PositionMask(in_channels, channels, inner=max(1, channels // self.reduction), open_init=self.open_init)

    def refine(self, in_channels: int, channels: int) -> nn.Module:
        """3x3 convolution."""
        return nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)

    def norm(self, channels: int) -> nn.Module:
        """Batch or group normalisation (up to 32 groups), and ReLU."""
        grouped = nn.GroupNorm(math.gcd(channels, 32), channels)
        return nn.Sequential(
            grouped if self.refine_norm == "group" else nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def resize(self, features: Tensor, like: Tensor) -> Tensor:
        """Max-pooling or bilinear interpolation."""
        (height, width), (new_height, new_width) = features.shape[2:], like.shape[2:]
        if (height, width) == (new_height, new_width):
            return features
        if height < new_height or width < new_width:
            return F.interpolate(features, size=(new_height, new_width), mode="bilinear", align_corners=False)
        if height % new_height == 0 and width % new_width == 0:  # the same, and quicker
            return F.max_pool2d(features, (height // new_height, width // new_width))
        return F.adaptive_max_pool2d(features, (new_height, new_width))
