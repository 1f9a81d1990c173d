"""SegNet: down by max-pooling, up by putting the features back where the maxima were."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import nn

from taskloom.nn.encoders._blocks import Norm, conv_block
from taskloom.nn.encoders._carry import OnFeatures, State, closed, opened
from taskloom.nn.encoders._hourglass import Hourglass

__all__ = ["SegNet"]


class SegNet(Hourglass):
    """An encoder-decoder for dense tasks that remembers only the positions of maxima from the way down.

    Stages, sizes and features as in :class:`UNet`; the way up has no features of the way down. A stage of the way up
    first maps its input to the channels of its level, then enlarges it.

    Args:
        in_channels: channels of the images; default 3.
        channels: channels of the levels; default (16, 32, 64).
        norm: makes the normalisation of a number of channels; default ``nn.BatchNorm2d``.

    Raises:
        TaskError: a number of channels below 1.

    Differs from the paper:
        two blocks per level and small numbers of channels, where the paper has those of VGG-16.

    Source:
        V. Badrinarayanan, A. Kendall, R. Cipolla, SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
        Segmentation, TPAMI 2017, arXiv:1511.00561.

    Example:
        >>> import torch
        >>> encoder = SegNet(3, (4, 8))
        >>> encoder.out_features, encoder(torch.zeros(1, 3, 17, 12)).shape
        (4, torch.Size([1, 4, 17, 12]))
    """

    def __init__(
        self, in_channels: int = 3, channels: Sequence[int] = (16, 32, 64), *, norm: Norm = nn.BatchNorm2d
    ) -> None:

        def put_back(below: int, width: int) -> tuple[list[nn.Module], int]:
            return [OnFeatures(conv_block(below, width, norm=norm)), _Up()], width

        super().__init__(in_channels, channels, norm=norm, down=_Down, up=put_back)


class _Down(nn.Module):
    """Halve the size; remember where the maxima were."""

    def forward(self, state: State) -> State:
        features, memory = opened(state)
        smaller, positions = F.max_pool2d(features, 2, return_indices=True)
        return closed(smaller, (*memory, positions, features.shape[2:]))


class _Up(nn.Module):
    """Put the features back where the maxima were, zeros elsewhere."""

    def forward(self, state: State) -> State:
        features, memory = opened(state)
        *rest, positions, size = memory
        return closed(F.max_unpool2d(features, positions, [2, 2], output_size=list(size)), tuple(rest))
