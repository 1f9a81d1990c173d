"""Normalisation by mean and variance, and softmax.

With x the normalised input, s one over its standard deviation, g the gradient behind the scale and m the mean over the
normalised entries, the gradient of the input is

    s (g - m(g) - x m(g x))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.layers.rows import axes_of
from taskloom.engine.replay.site import Gradient, Operation, Site

__all__ = ["batch_norm", "layer_norm", "softmax"]


def layer_norm(site: Site) -> Operation:
    """Layer normalisation, with the gradients of its scale and shift."""
    node, dtype = site.node, site.dtype
    shape = [int(size) for size in node._saved_normalized_shape]
    mean, scale = (site.saved(name) for name in ("result1", "result2"))
    normal = ((site.saved("input") - mean) * scale).to(dtype)  # of mean 0 and variance 1, whatever the precision
    weight, bias = (None if one is None else one.detach().to(dtype) for one in (node._saved_weight, node._saved_bias))
    zero, one = torch.zeros_like(mean, dtype=dtype), torch.ones_like(scale, dtype=dtype)
    steep = scale.to(dtype)
    over = list(range(1, normal.ndim - len(shape) + 1))

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        if gradient is None:
            return [None, None, None]
        found: list[Gradient] = [None, None, None]
        if site.wanted[0]:
            inputs = torch.empty_like(gradient, memory_format=torch.contiguous_format)
            for task, own in enumerate(gradient):  # the kernel adds up entries of a weight in the precision it is given
                of_input, _, _ = torch.ops.aten.native_layer_norm_backward(
                    own, normal, shape, zero, one, weight, bias, [True, False, False]
                )
                torch.mul(of_input, steep, out=inputs[task])
            found[0] = inputs
        if site.wanted[1]:
            found[1] = (gradient * normal).sum(over)
        if site.wanted[2]:
            found[2] = gradient.sum(over)
        return found

    return apply


def batch_norm(site: Site) -> Operation | None:
    """Batch normalisation with the statistics of the batch."""
    node = site.node
    if not node._saved_training:
        return None
    inputs = site.saved("input")
    axes = (0, *range(2, inputs.ndim))
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    mean, scale = (site.saved(name).view(shape) for name in ("result1", "result2"))
    normal = ((inputs - mean) * scale).to(site.dtype)
    weight = node._saved_weight
    steep = (scale if weight is None else scale * weight.detach().view(shape)).to(site.dtype)
    size = math.prod(inputs.shape[axis] for axis in axes)
    over = [axis + 1 for axis in axes]

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        if gradient is None:
            return [None, None, None]
        along, level = (gradient * normal).sum(over, keepdim=True), gradient.sum(over, keepdim=True)
        found: list[Gradient] = [None, along.flatten(1), level.flatten(1)]
        if site.wanted[0]:
            found[0] = (gradient - level / size - normal * (along / size)) * steep
        return found

    return apply


def softmax(site: Site) -> Operation:
    """Softmax or its logarithm."""
    result = site.saved("result")
    (axis,) = axes_of(site.node._saved_dim, result.ndim)
    is_log = site.name.startswith("Log")
    shares = (result.exp() if is_log else result).to(site.dtype)

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        if gradient is None:
            return [None]
        if is_log:
            return [gradient - shares * gradient.sum(axis + 1, keepdim=True)]
        weighted = gradient * shares
        return [weighted - shares * weighted.sum(axis + 1, keepdim=True)]

    return apply
