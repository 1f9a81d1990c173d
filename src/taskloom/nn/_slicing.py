"""Cutting channels out of a chain of layers, where it consists of layers that are known to allow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["without_channels"]

_PASSING = (nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.MaxPool2d)


def without_channels(parts: Sequence[nn.Module], masks: Mapping[int, Tensor]) -> list[nn.Module] | None:
    """Drop channels that are masked behind some parts of a chain, from both sides of the mask.

    A masked channel is 0 behind its mask, so that what wrote it and the weights that read it can go.

    Args:
        parts: stages and head in order; they are changed.
        masks: index of a part -> bool (C,), True for the channels that stay.

    Returns:
        the parts, or None where one is of a kind that is not known here: then nothing can be cut.
    """
    plan: list[tuple[nn.Module, Tensor | None, Tensor | None]] = []  # layer, inputs that stay, outputs that stay
    alive: Tensor | None = None  # channels that are there in front of the next layer; None: all
    for place, part in enumerate(parts):
        chain = [part] if not isinstance(part, nn.Sequential) else list(part)
        writers = [layer for layer in chain if _is_writer(layer)]
        for layer in chain:
            if _is_writer(layer):
                last = layer is writers[-1]
                stays = masks.get(place) if last else None
                plan.append((layer, alive, stays))
                alive = stays
            elif type(layer) is nn.BatchNorm1d or type(layer) is nn.BatchNorm2d:
                plan.append((layer, alive, alive))
            elif not isinstance(layer, _PASSING):
                return None
        if not writers and place in masks:
            return None
    for layer, inputs, outputs in plan:
        _cut(layer, inputs, outputs)
    return list(parts)


def _is_writer(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)


@torch.no_grad()
def _cut(layer: nn.Module, inputs: Tensor | None, outputs: Tensor | None) -> None:
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        if outputs is not None:
            for name in ("weight", "bias"):
                if getattr(layer, name) is not None:
                    setattr(layer, name, nn.Parameter(getattr(layer, name)[outputs]))
            for name in ("running_mean", "running_var"):
                if getattr(layer, name) is not None:
                    setattr(layer, name, getattr(layer, name)[outputs])
            layer.num_features = int(outputs.sum())
        return
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    weight = layer.weight
    if inputs is not None:
        weight = weight[:, inputs]
    if outputs is not None:
        weight = weight[outputs]
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias[outputs])
    layer.weight = nn.Parameter(weight.clone())
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    else:
        layer.out_channels, layer.in_channels = layer.weight.shape[:2]
