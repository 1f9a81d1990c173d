"""Chains of linear layers and element-wise functions: several of one structure as one product per layer.

What ``vmap`` over stacked parameters computes too, without its dispatch, which costs more than small layers. With one
input for all, the first layers are a single product with the weights laid side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Chain", "chain_of", "run_chains"]

Chain: TypeAlias = tuple[nn.Module, ...]

_ELEMENTWISE = frozenset(
    {
        nn.CELU,
        nn.Dropout,
        nn.ELU,
        nn.GELU,
        nn.Hardswish,
        nn.Hardtanh,
        nn.Identity,
        nn.LeakyReLU,
        nn.LogSigmoid,
        nn.Mish,
        nn.ReLU,
        nn.ReLU6,
        nn.SELU,
        nn.SiLU,
        nn.Sigmoid,
        nn.Softplus,
        nn.Softsign,
        nn.Tanh,
    }
)


def chain_of(module: nn.Module) -> Chain | None:
    """The layers that a module applies one after the other, or None if it is no plain chain.

    Modules with hooks or with a ``forward`` of their own are none, and neither are subclasses of torch's layers.
    """
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return None
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        parts = [chain_of(child) for child in module]
        return None if None in parts else tuple(layer for part in parts for layer in cast(Chain, part))
    return (module,) if type(module) is nn.Linear or type(module) in _ELEMENTWISE else None


def run_chains(chains: Sequence[Chain], inputs: Tensor, *, per_member: bool) -> Tensor:
    """Outputs (m, n, ..., d) of m chains of one structure.

    Args:
        chains: the chains.
        inputs: (n, ..., p) for all of them, or (m, n, ..., p) with one for each.
        per_member: whether each has its own.
    """
    hidden, is_split = inputs, per_member
    for layers in zip(*chains, strict=True):
        first = layers[0]
        if isinstance(first, nn.Linear):
            linears = cast(Sequence[nn.Linear], layers)
            hidden = _each(linears, hidden) if is_split else _side_by_side(linears, hidden)
            is_split = True
            continue
        if not is_split and isinstance(first, nn.Dropout):  # every member draws its own mask
            hidden, is_split = hidden.expand(len(chains), *hidden.shape), True
        hidden = first(hidden)
    return hidden if is_split else hidden.expand(len(chains), *hidden.shape)


def _side_by_side(layers: Sequence[nn.Linear], inputs: Tensor) -> Tensor:
    """Linear layers of one input: (n, ..., p) -> (m, n, ..., d)."""
    weights, biases = _parameters(layers)
    outputs: Tensor = F.linear(inputs, torch.cat(weights), torch.cat(biases) if biases else None)
    split = outputs.reshape(*outputs.shape[:-1], len(layers), -1)  # (n, ..., m, d)
    return split.transpose(0, 1) if split.ndim == 3 else split.movedim(-2, 0)


def _each(layers: Sequence[nn.Linear], inputs: Tensor) -> Tensor:
    """Linear layers with an input each: (m, n, ..., p) -> (m, n, ..., d)."""
    weights, biases = _parameters(layers)
    stacked = torch.stack(weights).transpose(1, 2)
    rows = inputs if inputs.ndim == 3 else inputs.reshape(len(layers), -1, inputs.shape[-1])
    outputs = torch.baddbmm(torch.stack(biases).unsqueeze(1), rows, stacked) if biases else torch.bmm(rows, stacked)
    return outputs if inputs.ndim == 3 else outputs.reshape(*inputs.shape[:-1], outputs.shape[-1])


def _parameters(layers: Sequence[nn.Linear]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases, from the dictionaries: attributes of many modules take as long as small products."""
    held = [layer._parameters for layer in layers]
    weights = [cast(Tensor, own["weight"]) for own in held]
    return weights, [bias for own in held if (bias := own["bias"]) is not None]
