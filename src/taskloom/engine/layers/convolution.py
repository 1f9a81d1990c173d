"""Convolutions: the weight gradients of K tasks in one call, as those of K times as many output channels.

    J_k = D_k * A,    A (B, i, ...) the images, D_k (B, o, ...) the output gradients of task k

The tasks are interleaved within each group of channels, so that grouped convolutions work unchanged. One by one this
gains nothing over autograd's own weight gradient, and is left to it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from taskloom.engine.layers.part import Blocks

__all__ = ["ConvolutionForm"]


class ConvolutionForm(Blocks):
    """The weight gradients of all tasks."""

    rule: ClassVar[str] = "form"

    def add(self, inputs: Tensor, gradients: Tensor, call: int, tasks: slice, is_first: bool) -> None:
        node, weight = self.layer.calls[call].node, self.layer.weight
        n_tasks, n_images, n_channels, *spatial = gradients.shape
        groups = int(node._saved_groups)
        together = gradients.reshape(n_tasks, n_images, groups, n_channels // groups, *spatial)
        together = together.permute(1, 2, 0, *range(3, together.ndim)).reshape(n_images, n_tasks * n_channels, *spatial)
        like = gradients.new_empty(1).expand(n_tasks * n_channels, *weight.shape[1:])
        _, found, _ = torch.ops.aten.convolution_backward(
            together,
            inputs,
            like,
            None,
            node._saved_stride,
            node._saved_padding,
            node._saved_dilation,
            False,
            [0] * len(spatial),
            groups,
            [False, True, False],
        )
        found = found.reshape(groups, n_tasks, n_channels // groups, *weight.shape[1:]).transpose(0, 1)
        found = found.reshape(n_tasks, *weight.shape)
        out = self.blocks[0][tasks]
        out.copy_(found) if is_first else out.add_(found)
        if self.layer.bias is not None:
            summed = gradients.sum((1, *range(3, gradients.ndim)))
            self.blocks[1][tasks].copy_(summed) if is_first else self.blocks[1][tasks].add_(summed)
