"""Attention for vectors (n, D) and tokens (n, N, D)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.attention._mask import PositionMask
from taskloom.nn.attention.base import Attention

__all__ = ["RowAttention"]


@dataclass(frozen=True)
class RowAttention(Attention):
    """The published attention on rows of features: linear layers and layer normalisation instead of convolutions.

    mask: linear layer to m, layer normalisation, ReLU, linear layer to D, layer normalisation, sigmoid. refine: linear
    layer without bias; norm: layer normalisation and ReLU. resize: tokens are max-pooled where the next stage has
    fewer, interpolated where it has more.

    Args:
        reduction: D / m; default 1.
        open_init: initial shift of the last normalisation of the masks; 0 (default) makes masks of about one half, 2
            of about 0.9.
        refine_norm: ``"shared"`` (default) or ``"per_task"`` scale and shift behind refine.

    Raises:
        TaskError: a reduction below 1, or an unknown refine_norm.

    Example:
        >>> import torch
        >>> RowAttention().mask(12, 8)(torch.zeros(2, 3, 12)).shape
        torch.Size([2, 3, 8])
    """

    dimension: ClassVar[int] = -1

    reduction: int = 1
    open_init: float = 0.0
    refine_norm: Literal["shared", "per_task"] = "shared"

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise TaskError(f"reduction must be 1 or more, found {self.reduction}")
        if self.refine_norm not in ("shared", "per_task"):
            raise TaskError(f"refine_norm must be 'shared' or 'per_task', found {self.refine_norm!r}")

    @property
    def norm_per_task(self) -> bool:
        """Whether each task has a normalisation of its own behind a shared ``refine``."""
        return self.refine_norm == "per_task"

    def mask(self, in_channels: int, channels: int) -> nn.Module:
        """A :class:`PositionMask` with layer normalisation."""
        inner = max(1, channels // self.reduction)
        return PositionMask(
            in_channels, channels, inner=inner, dimension=-1, norm=nn.LayerNorm, open_init=self.open_init
        )

    def refine(self, in_channels: int, channels: int) -> nn.Module:
        """Linear layer."""
        return nn.Linear(in_channels, channels, bias=False)

    def norm(self, channels: int) -> nn.Module:
        """Layer normalisation and ReLU."""
        return nn.Sequential(nn.LayerNorm(channels), nn.ReLU(inplace=True))

    def resize(self, features: Tensor, like: Tensor) -> Tensor:
        """Max-pooling or interpolation over the tokens."""
        if features.ndim < 3 or features.shape[1] == like.shape[1]:
            return features
        length, new_length = features.shape[1], like.shape[1]
        if length < new_length:
            return F.interpolate(features.mT, size=new_length, mode="linear", align_corners=False).mT
        return F.adaptive_max_pool1d(features.mT, new_length).mT
