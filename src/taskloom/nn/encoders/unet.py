"""U-Net: down by max-pooling, up by interpolation, with the features of each level joined on the way up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from taskloom.nn.encoders._blocks import Norm
from taskloom.nn.encoders._carry import State, closed, opened
from taskloom.nn.encoders._hourglass import Hourglass

__all__ = ["UNet"]


class UNet(Hourglass):
    """An encoder-decoder for dense tasks: features as large as the image, from every scale.

    With L levels of C_0, ..., C_(L-1) channels there are 2 L - 1 stages: down to 1 / 2^(L-1) of the size (rounded
    down), then up again, each with two blocks (3x3 convolution, normalisation, ReLU). Images (n, channels, height,
    width) give features (n, C_0, height, width); any size of at least 2^(L-1) works. Stages other than the last give
    tuples: the features, then what the way up needs.

    Args:
        in_channels: channels of the images; default 3.
        channels: channels of the levels; default (16, 32, 64).
        norm: makes the normalisation of a number of channels; default ``nn.BatchNorm2d``.

    Raises:
        TaskError: a number of channels below 1.

    Differs from the paper:
        convolutions keep the size, features are normalised, the way up interpolates instead of a transposed
        convolution, and the numbers of channels are small.

    Source:
        O. Ronneberger, P. Fischer, T. Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI
        2015, arXiv:1505.04597.

    Example:
        >>> encoder = UNet(3, (4, 8))
        >>> len(encoder), encoder.out_features, encoder(torch.zeros(1, 3, 17, 12)).shape
        (3, 4, torch.Size([1, 4, 17, 12]))
    """

    def __init__(
        self, in_channels: int = 3, channels: Sequence[int] = (16, 32, 64), *, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__(in_channels, channels, norm=norm, down=_Down, up=_join)


def _join(below: int, width: int) -> tuple[list[nn.Module], int]:
    return [_Up()], width + below


class _Down(nn.Module):
    """Remember the features, then halve the size."""

    def forward(self, state: State) -> State:
        features, memory = opened(state)
        return closed(F.max_pool2d(features, 2), (*memory, features))


class _Up(nn.Module):
    """Enlarge to the size of the features remembered last, and join them."""

    def forward(self, state: State) -> State:
        features, memory = opened(state)
        kept = memory[-1]
        larger = F.interpolate(features, size=kept.shape[2:], mode="bilinear", align_corners=False)
        return closed(torch.cat([kept, larger], dim=1), memory[:-1])
