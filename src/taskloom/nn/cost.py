"""Count multiply-accumulate operations (MACs) of a module; FLOPs are twice that."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from torch import nn

__all__ = ["Cost", "layer_macs", "macs"]


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass.

    Args:
        macs: multiply-accumulate operations for the whole sample.
        by_layer: the same per layer, by name.
        not_counted: names of layers with parameters for which there is no rule.

    Example:
        >>> Cost(macs=10, by_layer={"fc": 10}, not_counted=()).flops
        20
    """

    macs: int
    by_layer: dict[str, int]
    not_counted: tuple[str, ...]

    @property
    def flops(self) -> int:
        """Two per MAC."""
        return 2 * self.macs


@singledispatch
def layer_macs(layer: nn.Module, inputs: tuple[Any, ...], *, output: Any) -> int | None:
    """MACs of one call of a layer, or None when there is no rule for its type.

    Register a rule for a layer of your own: ``layer_macs.register(MyLayer)(rule)``.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> layer_macs(layer, (torch.zeros(5, 3),), output=torch.zeros(5, 2))
        30
    """
    return None


@layer_macs.register
def _linear(layer: nn.Linear, inputs: tuple[Any, ...], *, output: Any) -> int:
    return int(output.numel()) * layer.in_features


def _convolution(layer: nn.Module, inputs: tuple[Any, ...], *, output: Any) -> int:
    assert isinstance(layer, nn.modules.conv._ConvNd)
    return int(output.numel()) * (layer.in_channels // layer.groups) * math.prod(layer.kernel_size)


def _transposed_convolution(layer: nn.Module, inputs: tuple[Any, ...], *, output: Any) -> int:
    assert isinstance(layer, nn.modules.conv._ConvNd)
    return int(inputs[0].numel()) * (layer.out_channels // layer.groups) * math.prod(layer.kernel_size)


for _type in (nn.Conv1d, nn.Conv2d, nn.Conv3d):
    layer_macs.register(_type)(_convolution)
for _transposed in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
    layer_macs.register(_transposed)(_transposed_convolution)


def _elementwise(layer: nn.Module, inputs: tuple[Any, ...], *, output: Any) -> int:
    return int(output.numel())


for _norm in (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm):
    layer_macs.register(_norm)(_elementwise)


@layer_macs.register(nn.Embedding)
@layer_macs.register(nn.EmbeddingBag)
def _lookup(layer: nn.Module, inputs: tuple[Any, ...], *, output: Any) -> int:
    return 0


@layer_macs.register
def _attention(layer: nn.MultiheadAttention, inputs: tuple[Any, ...], *, output: Any) -> int:
    query, key, value = inputs[:3]
    width = layer.embed_dim
    batch_axis = 0 if layer.batch_first else 1
    n_batch = query.shape[batch_axis] if query.ndim == 3 else 1
    n_query = query.numel() // (query.shape[-1] * n_batch)
    n_key = key.numel() // (key.shape[-1] * n_batch)
    projections = 2 * n_query * width * width + n_key * width * (key.shape[-1] + value.shape[-1])
    return int(n_batch * (projections + 2 * n_query * n_key * width))


def macs(module: nn.Module, example: Any) -> Cost:
    """Count the MACs of one forward pass, in evaluation mode, with forward hooks.

    Rules: linear layers, convolutions, transposed convolutions and attention by their products; normalisation one per
    element; look-ups nothing; biases and activations are left out. Gates, mixing units, conditions and the like have
    rules of their own; products written as bare functions inside another module's ``forward`` are not seen.

    Args:
        module: any module, also a multi-task model.
        example: its input; the count is for all rows of it.

    Returns:
        the counts; layers with parameters but without a rule are listed in ``not_counted``.

    Example:
        >>> from taskloom.nn import MLP
        >>> macs(MLP(4, (8,)), torch.zeros(1, 4)).macs
        32
    """
    by_layer: dict[str, int] = {}
    not_counted: list[str] = []

    def counter(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def count(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            found = layer_macs(layer, inputs, output=output)
            if found is not None:
                by_layer[name] = by_layer.get(name, 0) + found
            elif name not in not_counted:
                not_counted.append(name)

        return count

    handles = [
        part.register_forward_hook(counter(name))
        for name, part in module.named_modules()
        if layer_macs.dispatch(type(part)) is not layer_macs.dispatch(nn.Module) or _has_own_parameters(part)
    ]
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes:
            part.training = training
    return Cost(macs=sum(by_layer.values()), by_layer=by_layer, not_counted=tuple(not_counted))


def _has_own_parameters(module: nn.Module) -> bool:
    """Whether a module holds parameters that are not those of a layer below it; lists of parameters are no layers."""
    lists = (child for child in module.children() if isinstance(child, nn.ParameterList | nn.ParameterDict))
    return bool(module._parameters) or any(True for one in lists for _ in one.parameters())
