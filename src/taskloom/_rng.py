"""Named random streams: every random number of the library comes from (seed, purpose, numbers).

Two streams with different names are independent, and a stream never depends on how many numbers another one has
drawn. That is what keeps splits and initial weights paired over candidates, and a resumed run equal to an
undisturbed one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["initial_weights", "numpy_stream", "stream_seed", "torch_stream"]


def stream_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Derive a 63-bit seed from a base seed, the name of what it is for, and counters (step, epoch, rank).

    Args:
        seed: the user's base seed.
        purpose: what the numbers are for, for example ``"split"`` or ``"order"``.
        numbers: counters that tell streams of one purpose apart.

    Returns:
        an integer in [0, 2**63).

    Example:
        >>> stream_seed(0, "split") == stream_seed(0, "split"), stream_seed(0, "split") == stream_seed(0, "order")
        (True, False)
    """
    text = "\x1f".join([str(int(seed)), purpose, *(str(int(number)) for number in numbers)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def numpy_stream(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """NumPy generator of a named stream (see :func:`stream_seed`)."""
    return np.random.default_rng(stream_seed(seed, purpose, *numbers))


def torch_stream(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """Torch CPU generator of a named stream (see :func:`stream_seed`)."""
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, purpose, *numbers))


@contextmanager
def initial_weights(seed: int, purpose: str = "init") -> Iterator[None]:
    """Draw the initial weights of networks built in this block from the stream of a seed.

    Networks of different candidates that are built with one seed start from the same encoder weights where their
    shapes agree: initial weights are paired over candidates.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, purpose))
        yield
