"""The mask of the published network: two linear maps at every position. Several are computed in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn.cost import layer_macs

__all__ = ["PositionMask", "are_alike", "from_rows", "rows_of", "run_masks"]


class PositionMask(nn.Module):
    """A mask between 0 and 1 for every channel and position, from the features at that position.

        a = sigmoid(norm(W_2 relu(norm(W_1 u + b_1)) + b_2))

    A 1x1 convolution is a linear map at every position, which is how it is computed here.

    Args:
        in_channels: channels of the features u.
        channels: channels of the mask.
        inner: rows of W_1; default as many as the mask has channels.
        dimension: axis of the channels; default 1.
        norm: makes the normalisation of a number of channels, which sees rows (n, C); default ``nn.BatchNorm1d``.
        open_init: initial shift of the last normalisation: 0 makes masks of about one half, 2 of about 0.9. Default 0.

    Raises:
        TaskError: an open start without a shift in the last normalisation.

    Example:
        >>> mask = PositionMask(6, 4)
        >>> mask(torch.zeros(2, 6, 5, 5)).shape
        torch.Size([2, 4, 5, 5])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        inner: int | None = None,
        dimension: int = 1,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
        open_init: float = 0.0,
    ) -> None:
        super().__init__()
        width = channels if inner is None else inner
        self.dimension = dimension
        self.open_init = open_init
        self.first = nn.Linear(in_channels, width)
        self.first_norm = norm(width)
        self.second = nn.Linear(width, channels)
        self.second_norm = norm(channels)
        if open_init and not isinstance(getattr(self.second_norm, "bias", None), Tensor):
            raise TaskError(f"open_init={open_init} needs a normalisation with a shift, found {self.second_norm}")
        self._open()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        for part in (self.first, self.first_norm, self.second, self.second_norm):
            if isinstance(part, nn.Linear | nn.LayerNorm | nn.modules.batchnorm._BatchNorm):
                part.reset_parameters()
        self._open()

    def _open(self) -> None:
        if self.open_init:
            nn.init.constant_(self.second_norm.get_parameter("bias"), self.open_init)

    def forward(self, features: Tensor, own: Tensor | None = None) -> Tensor:
        """Mask of the same size.

        Args:
            features: with all channels, or with the first of them.
            own: the other channels, if they come apart; they are not copied behind the first.
        """
        rows = rows_of(features, self.dimension)
        if own is None:
            hidden = self.first(rows)
        else:
            rest = rows_of(own, self.dimension)
            first, second = self.first.weight.split([rows.shape[-1], rest.shape[-1]], dim=1)
            hidden = torch.addmm(F.linear(rows, first, self.first.bias), rest, second.mT)
        hidden = self.first_norm(hidden).relu()
        return from_rows(self.second_norm(self.second(hidden)).sigmoid(), features, self.dimension)


def rows_of(features: Tensor, axis: int) -> Tensor:
    """The channels of every position, (N, C)."""
    return features if features.ndim == 2 else features.movedim(axis, -1).flatten(0, -2)


def from_rows(rows: Tensor, like: Tensor, axis: int) -> Tensor:
    """Rows (N, C) at the positions of ``like``."""
    if like.ndim == 2:
        return rows
    return rows.reshape(*like.movedim(axis, -1).shape[:-1], rows.shape[-1]).movedim(-1, axis)


@layer_macs.register
def _mask_macs(layer: PositionMask, inputs: tuple[Any, ...], *, output: Any) -> int:
    """The first linear map where its two parts are applied apart; other layers are counted on their own."""
    if len(inputs) < 2:
        return 0
    return int(output.numel()) // layer.second.out_features * layer.first.in_features * layer.first.out_features


def are_alike(masks: Sequence[nn.Module]) -> bool:
    """Whether all are a :class:`PositionMask` of one form, so that :func:`run_masks` may compute them."""
    forms = set()
    for mask in masks:
        if type(mask) is not PositionMask:
            return False
        norms = (mask.first_norm, mask.second_norm)
        kinds = [(type(norm), getattr(norm, "eps", None)) for norm in norms]
        forms.add((mask.first.weight.shape, mask.second.weight.shape, mask.dimension, mask.training, *kinds))
    return len(forms) == 1


def run_masks(masks: Sequence[nn.Module], common: Tensor, own: Tensor | None) -> Tensor:
    """Masks (K, N, C) at N positions of K alike masks: one product of stacked matrices per linear map.

    Args:
        masks: K of them, see :func:`are_alike`.
        common: first channels, (N, C_u) for all masks or (K, N, C_u).
        own: what each task adds to them, (K, N, C_r), or None.
    """
    parts = [mask for mask in masks if isinstance(mask, PositionMask)]
    weight = torch.stack([mask.first.weight for mask in parts]).mT  # (K, C_u + C_r, m)
    bias = torch.stack([mask.first.bias for mask in parts]).unsqueeze(1)  # (K, 1, m)
    n_common = common.shape[-1]
    first, second = weight.split([n_common, weight.shape[1] - n_common], dim=1)
    hidden = torch.baddbmm(bias, common.expand(len(parts), -1, -1), first)  # (K, N, m)
    if own is not None:
        hidden = torch.baddbmm(hidden, own, second)
    hidden = _normed([mask.first_norm for mask in parts], hidden).relu()
    weight = torch.stack([mask.second.weight for mask in parts]).mT
    bias = torch.stack([mask.second.bias for mask in parts]).unsqueeze(1)
    return _normed([mask.second_norm for mask in parts], torch.baddbmm(bias, hidden, weight)).sigmoid()


def _normed(norms: Sequence[nn.Module], stacked: Tensor) -> Tensor:
    """Each normalisation on its own rows of (K, N, C)."""
    layers = [norm for norm in norms if type(norm) is nn.LayerNorm and norm.bias is not None]
    if len(layers) < len(norms):
        return torch.stack([norm(part) for norm, part in zip(norms, stacked.unbind(0), strict=True)])
    scale = torch.stack([layer.weight for layer in layers]).unsqueeze(1)
    shift = torch.stack([layer.bias for layer in layers]).unsqueeze(1)
    return torch.addcmul(shift, F.layer_norm(stacked, stacked.shape[-1:], eps=layers[0].eps), scale)
