"""Encoders that the families share, as stages: a composition of the stages is the encoder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["conv_stages", "image_batch", "mlp_stages", "residual_stages", "table_batch"]


def table_batch(n_rows: int = 128, n_features: int = 64) -> Tensor:
    """Rows of a table, (n, p)."""
    return torch.randn(n_rows, n_features)


def image_batch(n_rows: int = 16, size: int = 32) -> Tensor:
    """Images, (n, 3, size, size)."""
    return torch.randn(n_rows, 3, size, size)


def mlp_stages(widths: Sequence[int] = (64, 128, 128, 128)) -> list[nn.Module]:
    """Linear layer and ReLU per stage; the last width is that of the features."""
    return [nn.Sequential(nn.Linear(i, o), nn.ReLU()) for i, o in itertools.pairwise(widths)]


def conv_stages(channels: Sequence[int] = (3, 16, 32, 64)) -> list[nn.Module]:
    """Two convolutions, ReLU and max-pooling per stage, without normalisation; the last stage averages over space."""
    stages: list[nn.Module] = []
    for i, o in itertools.pairwise(channels):
        layers = [nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.Conv2d(o, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        stages.append(nn.Sequential(*layers))
    stages[-1] = nn.Sequential(*stages[-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return stages


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a short cut."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm2d(o), nn.BatchNorm2d(o)
        self.short_cut = nn.Identity() if i == o and stride == 1 else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(hidden)) + self.short_cut(x))


def residual_stages(channels: Sequence[int] = (16, 32, 64)) -> list[nn.Module]:
    """A small residual network of the usual form: a first convolution with a stage of its own, then two blocks each."""
    first = channels[0]
    stages: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU())
    ]
    for i, o in itertools.pairwise([first, *channels]):
        stages.append(nn.Sequential(ResidualBlock(i, o, 1 if i == o else 2), ResidualBlock(o, o, 1)))
    stages[-1] = nn.Sequential(*stages[-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return stages
