"""What U-Net and SegNet have in common: the size goes down, then up again, with a memory of each level."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import nn

from taskloom.nn.encoders._blocks import Norm, conv_block, whole_numbers
from taskloom.nn.encoders._carry import OnFeatures

__all__ = ["Hourglass"]


class Hourglass(nn.Sequential):
    """Stages of two blocks: first level, levels down, levels up. Subclasses say how to go down and up.

    Args:
        in_channels: channels of the images.
        channels: channels of the levels, from the full size down.
        norm: makes the normalisation of a number of channels.
        down: makes the module in front of a level on the way down.
        up: makes the modules in front of a level on the way up, given the channels that come from below and those of
            the level, and says how many channels these modules give.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int],
        *,
        norm: Norm,
        down: Callable[[], nn.Module],
        up: Callable[[int, int], tuple[list[nn.Module], int]],
    ) -> None:
        in_channels, *levels = whole_numbers([in_channels, *channels], what=f"{type(self).__name__} channels")
        stages = [self._stage([], in_channels, levels[0], norm)]
        for before, width in itertools.pairwise(levels):
            stages.append(self._stage([down()], before, width, norm))
        for below, width in itertools.pairwise(reversed(levels)):
            before_block, given = up(below, width)
            stages.append(self._stage(before_block, given, width, norm))
        super().__init__(*stages)
        self.in_channels = in_channels
        self.out_features = levels[0]

    @staticmethod
    def _stage(before: list[nn.Module], channels_in: int, channels_out: int, norm: Norm) -> nn.Sequential:
        first = OnFeatures(conv_block(channels_in, channels_out, norm=norm))
        second = OnFeatures(conv_block(channels_out, channels_out, norm=norm))
        return nn.Sequential(nn.Sequential(*before, first), second)

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """First block (with the change of size) and second block of each stage, down and up."""
        return [(stage[0], stage[1]) for stage in self.children() if isinstance(stage, nn.Sequential)]
