"""Matrix products and convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from taskloom.engine.replay.site import Gradient, Operation, Site

__all__ = ["batched_product", "convolution", "product", "product_with_addition"]


def product(site: Site) -> Operation:
    """``x @ w`` of two matrices."""
    return _product(site, "self", "mat2", first=0)


def product_with_addition(site: Site) -> Operation | None:
    """``b + x @ w``."""
    if site.node._saved_alpha != 1 or site.node._saved_beta != 1:
        return None
    return _product(site, "mat1", "mat2", first=1)


def _product(site: Site, left_name: str, right_name: str, *, first: int) -> Operation:
    n_rows, n_outputs = site.outside[0]
    right = site.saved(right_name).to(site.dtype) if site.wanted[first] else None
    left = site.saved(left_name).to(site.dtype) if site.wanted[first + 1] else None

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        found: list[Gradient] = [None] * len(site.wanted)
        if gradient is None:
            return found
        if first and site.wanted[0]:
            found[0] = gradient if len(site.inside[0]) == 2 else gradient.sum(1)
        if right is not None:  # all tasks are rows of one product
            flat = gradient.reshape(-1, n_outputs) @ right.T
            found[first] = flat.view(-1, n_rows, flat.shape[1])
        if left is not None:
            found[first + 1] = left.T @ gradient
        return found

    return apply


def batched_product(site: Site) -> Operation:
    """``x @ w`` of two stacks of matrices."""
    right = site.saved("mat2").to(site.dtype) if site.wanted[0] else None
    left = site.saved("self").to(site.dtype) if site.wanted[1] else None

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        if gradient is None:
            return [None, None]
        return [
            None if right is None else gradient @ right.transpose(1, 2),
            None if left is None else left.transpose(1, 2) @ gradient,
        ]

    return apply


def convolution(site: Site) -> Operation | None:
    """A convolution, its weights not wanted: all tasks are images of one batch."""
    node = site.node
    if not site.wanted[0] or any(site.wanted[1:]) or node._saved_transposed:
        return None
    weight = site.saved("weight").to(site.dtype)
    settings = (node._saved_stride, node._saved_padding, node._saved_dilation, False)
    output_padding, groups = [0] * (weight.ndim - 2), int(node._saved_groups)

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        if gradient is None:
            return [None, None, None]
        together = gradient.flatten(0, 1)
        like = together.new_empty(1).expand(together.shape[0], *site.inside[0][1:])
        found, _, _ = torch.ops.aten.convolution_backward(
            together, like, weight, None, *settings, output_padding, groups, [True, False, False]
        )
        return [found.view(gradient.shape[0], *site.inside[0]), None, None]

    return apply
