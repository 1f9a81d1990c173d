"""A small convolutional network: two convolutions per stage, half the size from stage to stage."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import nn

from taskloom.nn.encoders._blocks import GlobalPool, Norm, conv_block, whole_numbers

__all__ = ["CNN"]


class CNN(nn.Sequential):
    """A small convolutional encoder for images (n, channels, height, width).

    Stage l has two blocks (3x3 convolution, normalisation, ReLU); from the second stage on the first of them has stride
    2, so stage l gives (n, C_l, ceil(height / 2^l), ceil(width / 2^l)), counted from 0.

    Args:
        in_channels: channels of the images; default 3.
        channels: channels C_l of the stages; default (16, 32, 64).
        norm: makes the normalisation of a number of channels; default ``nn.BatchNorm2d``. A normalisation without batch
            statistics, such as ``lambda c: nn.GroupNorm(4, c)``, lets many networks be trained in one computation.
        pool: end with the mean over all positions, (n, C); default True. False keeps (n, C, h, w) for dense tasks.

    Raises:
        TaskError: a number of channels below 1.

    Example:
        >>> import torch
        >>> encoder = CNN(1, (4, 8))
        >>> encoder.out_features, encoder(torch.zeros(2, 1, 9, 9)).shape
        (8, torch.Size([2, 8]))
        >>> CNN(1, (4, 8), pool=False)(torch.zeros(2, 1, 9, 9)).shape
        torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (16, 32, 64),
        *,
        norm: Norm = nn.BatchNorm2d,
        pool: bool = True,
    ) -> None:
        widths = whole_numbers([in_channels, *channels], what="CNN channels")
        stages = [
            [conv_block(before, width, stride=2 if level else 1, norm=norm), conv_block(width, width, norm=norm)]
            for level, (before, width) in enumerate(itertools.pairwise(widths))
        ]
        self.n_stages = len(stages)
        tails: list[list[nn.Module]] = [[] for _ in stages]
        if pool:
            tails[-1] = [GlobalPool()]
        super().__init__(*(nn.Sequential(*stage, *tail) for stage, tail in zip(stages, tails, strict=True)))
        self.in_channels = widths[0]
        self.out_features = widths[-1]

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """First and second block of each stage (without the final pooling), for architectures that need both."""
        return [(stage[0], stage[1]) for stage in self.children() if isinstance(stage, nn.Sequential)]
