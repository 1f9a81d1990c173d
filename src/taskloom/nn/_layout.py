"""How modules on images are computed: the layout in memory, and one module after the other."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor

from taskloom.nn.parallel import Parallel

__all__ = ["channels_last", "one_by_one"]


def channels_last(inputs: Any) -> Any:
    """Images with the channels of a position side by side in memory; anything else as it is.

    Convolutions and pooling are quicker on them, and 1x1 convolutions are matrix products without copies.
    """
    if isinstance(inputs, Tensor) and inputs.ndim == 4:
        return inputs.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return inputs


def one_by_one(parts: Parallel) -> Parallel:
    """The same list, never computed as one batched operation: that gains nothing for convolutions on whole images."""
    parts.loop_up_to = sys.maxsize
    return parts
