"""Blocks that several encoders are built from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["GlobalPool", "Norm", "conv_block", "dense_blocks", "norm_like", "whole_numbers"]

Norm = Callable[[int], nn.Module]


def whole_numbers(values: Sequence[int], *, what: str) -> list[int]:
    """The values as ints; raises TaskError when one is below 1 or there is none."""
    numbers = [int(value) for value in values]
    if not numbers or min(numbers) < 1:
        raise TaskError(f"{what} must be 1 or more, found {numbers}")
    return numbers


def dense_blocks(widths: Sequence[int], dropout: float) -> list[nn.Sequential]:
    """Linear layer, ReLU and, above 0, dropout for each pair of neighbouring widths."""
    if not 0.0 <= dropout < 1.0:
        raise TaskError(f"dropout must lie in [0, 1), found {dropout!r}")
    blocks = []
    for width_in, width_out in itertools.pairwise(widths):
        layers: list[nn.Module] = [nn.Linear(width_in, width_out), nn.ReLU()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        blocks.append(nn.Sequential(*layers))
    return blocks


def conv_block(channels_in: int, channels_out: int, *, stride: int = 1, norm: Norm = nn.BatchNorm2d) -> nn.Sequential:
    """3x3 convolution without bias, normalisation, ReLU."""
    convolution = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, norm(channels_out), nn.ReLU())


def norm_like(part: nn.Module) -> Norm:
    """Makes normalisations like the first one inside a module, for any number of channels.

    Raises:
        TaskError: it is of a kind that is not known here.
    """
    for norm in part.modules():
        if isinstance(norm, nn.modules.batchnorm._NormBase):
            kind, eps, momentum = type(norm), norm.eps, norm.momentum
            affine, tracks = norm.affine, norm.track_running_stats
            return lambda channels: kind(channels, eps, momentum, affine, tracks)
        if isinstance(norm, nn.GroupNorm):
            groups, eps, affine = norm.num_groups, norm.eps, norm.affine
            return lambda channels: nn.GroupNorm(groups, channels, eps, affine)
        if isinstance(norm, nn.Identity):
            return lambda channels: nn.Identity()
    raise TaskError("the normalisation of this model cannot be made anew for other channels; give norm=")


class GlobalPool(nn.Module):
    """Mean over all axes behind the channels: (n, C, ...) -> (n, C)."""

    def forward(self, features: Tensor) -> Tensor:
        """(n, C)."""
        return features.flatten(2).mean(2)
