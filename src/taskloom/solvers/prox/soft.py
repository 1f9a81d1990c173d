"""Shrinking numbers towards zero: the proximal operator of the absolute value, entry by entry.

prox(v) = sign(v) max(|v| - tau, 0)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["soft_threshold"]

Array = NDArray[np.float64]


def soft_threshold(V: Array, tau: float | Array) -> Array:
    """Shrink every entry towards zero.

    Args:
        V: any shape.
        tau: by how much, not negative; a number or an array that broadcasts with V.

    Returns:
        shape of V.

    Example:
        >>> soft_threshold(np.array([-3.0, 0.5, 2.0]), 1.0)
        array([-2.,  0.,  1.])
    """
    return V - np.clip(V, -np.asarray(tau), tau)
