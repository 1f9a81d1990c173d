"""Batch normalisation of axis 1, whatever axes follow."""

from __future__ import annotations

from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["ChannelBatchNorm"]


class ChannelBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation for rows (n, C) and images (n, C, ...) alike; momentum 0.05.

    Args:
        num_features: number of channels C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, momentum=0.05)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise TaskError(f"batch normalisation needs features (n, C, ...), found {tuple(input.shape)}")
