"""Thin networks from wide ones: the rows of a weight that span the others best, by simultaneous pursuit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["spanning_rows", "thin_chain"]


def spanning_rows(weight: Tensor, count: int) -> tuple[list[int], Tensor]:
    """Choose rows that jointly span all rows, one after the other: simultaneous orthogonal matching pursuit.

    Args:
        weight: (n, d).
        count: number of rows to choose, at most; fewer where fewer span all.

    Returns:
        the rows S in the order chosen, and A (n, |S|) with ``weight`` close to ``A weight[S]`` in least squares.

    Source:
        J. Tropp, A. Gilbert, M. Strauss, Algorithms for simultaneous sparse approximation, Signal Processing 86, 2006.

    Example:
        >>> rows, mix = spanning_rows(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), 3)
        >>> len(rows), mix.shape
        (2, torch.Size([3, 2]))
    """
    weight = weight.double()
    norms = weight.norm(dim=1).clamp(min=1e-300)
    chosen: list[int] = []
    residual, mix = weight, weight.new_zeros(len(weight), 0)
    while len(chosen) < min(count, len(weight)) and residual.norm() > 1e-12 * max(1.0, float(weight.norm())):
        scores = (residual @ weight.T).abs().sum(0) / norms
        scores[chosen] = -1.0
        chosen.append(int(scores.argmax()))
        mix = torch.linalg.lstsq(weight[chosen].T, weight.T, driver="gelsd").solution.T
        residual = weight - mix @ weight[chosen]
    return chosen, mix


@torch.no_grad()
def thin_chain(layers: nn.Sequential, width: int) -> nn.Sequential:
    """A copy of a chain with at most so many features behind every linear layer or convolution but the last.

    Each layer keeps the rows that span the others best, and the next layer takes over what the others contributed:
    exact for linear chains of low rank, an approximation behind nonlinearities.

    Args:
        layers: linear layers, ungrouped convolutions, batch normalisations and element-wise activations in a row.
        width: features to keep, the paper's omega.

    Returns:
        the thin chain.

    Raises:
        TaskError: a part of another kind.

    Source:
        Y. Lu et al., Fully-adaptive Feature Sharing in Multi-Task Networks with Applications in Person Attribute
        Classification, CVPR 2017, arXiv:1611.05377.

    Example:
        >>> wide = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 8))
        >>> thin_chain(wide, 3)[0]
        Linear(in_features=4, out_features=3, bias=True)
    """
    kept: Tensor | None = None  # rows kept of the layer before
    mix: Tensor | None = None
    writers = [part for part in layers if isinstance(part, nn.Linear | nn.Conv2d)]
    parts: list[nn.Module] = []
    for part in layers:
        if isinstance(part, nn.Linear | nn.Conv2d):
            weight = part.weight.detach().double()
            if mix is not None:
                weight = torch.tensordot(weight, mix, dims=([1], [0])).movedim(-1, 1)
            bias = None if part.bias is None else part.bias.detach().double()
            if part is writers[-1]:
                kept, mix = None, None
            else:
                rows, mix = spanning_rows(weight.flatten(1), width)
                kept = torch.tensor(rows)
                weight, bias = weight[kept], None if bias is None else bias[kept]
            parts.append(_like(part, weight, bias))
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            parts.append(_norm_like(part, kept))
        elif any(True for _ in part.parameters()):
            raise TaskError(f"{type(part).__name__} cannot be thinned; give a chain of linear layers or convolutions")
        else:
            parts.append(part)
    return nn.Sequential(*parts)


def _like(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Module:
    made: nn.Linear | nn.Conv2d
    if isinstance(layer, nn.Linear):
        made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        if layer.groups != 1:
            raise TaskError("a convolution with groups cannot be thinned")
        made = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            layer.kernel_size,  # type: ignore[arg-type]
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
            dilation=layer.dilation,  # type: ignore[arg-type]
            bias=bias is not None,
            padding_mode=layer.padding_mode,
        )
    made = made.to(layer.weight)
    made.weight.copy_(weight)
    if bias is not None and made.bias is not None:
        made.bias.copy_(bias)
    return made


def _norm_like(layer: nn.modules.batchnorm._BatchNorm, kept: Tensor | None) -> nn.Module:
    if kept is None:
        return layer
    made = type(layer)(len(kept), eps=layer.eps, momentum=layer.momentum, affine=layer.affine)
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = getattr(layer, name)
        if value is not None:
            getattr(made, name).copy_(value[kept])
    return made
