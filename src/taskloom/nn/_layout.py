"""How images lie in memory."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["channels_last"]


def channels_last(inputs: Any) -> Any:
    """Images with the channels of a position side by side in memory; anything else as it is.

    Convolutions and pooling are quicker on them, and 1x1 convolutions are matrix products without copies.
    """
    if isinstance(inputs, Tensor) and inputs.ndim == 4:
        return inputs.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return inputs
