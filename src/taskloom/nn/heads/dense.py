"""Head for dense tasks: outputs at every position of an image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.errors import TaskError

__all__ = ["DenseHead"]


class DenseHead(nn.Module):
    """A 1x1 convolution to the outputs, resized to the image by bilinear interpolation.

    Args:
        in_channels: channels C of the features.
        n_outputs: outputs at every position.
        size: (height, width) of the outputs.
        scale: size of the outputs over size of the features, instead of ``size``; default 1: no change.

    Raises:
        TaskError: both size and scale, or a number below 1.

    Example:
        >>> import torch
        >>> DenseHead(8, 3, scale=4)(torch.zeros(2, 8, 5, 6)).shape
        torch.Size([2, 3, 20, 24])
    """

    def __init__(
        self, in_channels: int, n_outputs: int, *, size: tuple[int, int] | None = None, scale: int | None = None
    ) -> None:
        super().__init__()
        if size is not None and scale is not None:
            raise TaskError("give size (height and width of the outputs) or scale (a factor), not both")
        if min(in_channels, n_outputs, *(size or (1, 1)), 1 if scale is None else scale) < 1:
            raise TaskError(
                f"DenseHead needs numbers of 1 or more, found in_channels={in_channels}, n_outputs={n_outputs}, "
                f"size={size}, scale={scale}"
            )
        self.outputs = nn.Conv2d(in_channels, n_outputs, 1)
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.scale = 1 if scale is None else int(scale)

    def forward(self, features: Tensor) -> Tensor:
        """(n, n_outputs, height, width).

        Args:
            features: (n, C, h, w).
        """
        found: Tensor = self.outputs(features)
        size = (found.shape[2] * self.scale, found.shape[3] * self.scale) if self.size is None else self.size
        if found.shape[2:] == size:
            return found
        return F.interpolate(found, size=size, mode="bilinear", align_corners=False)
