"""Random numbers of a chain: one tensor that every randomised link takes its part of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from torch import Tensor

from taskloom.balance._link import Link

__all__ = ["size_of", "split_draws"]


def size_of(shape: Sequence[int]) -> int:
    """Number of elements of a shape."""
    return math.prod(shape)


def split_draws(links: Iterable[Link], draws: Tensor | None, n_tasks: int) -> list[Tensor | None]:
    """The part of each link: all of it when only one is random, else consecutive pieces of a flat tensor."""
    shapes = [link.draw_shape(n_tasks) for link in links]
    if draws is None:
        return [None] * len(shapes)
    if sum(shape is not None for shape in shapes) < 2:
        return [None if shape is None else draws for shape in shapes]
    pieces = draws.split([0 if shape is None else size_of(shape) for shape in shapes])
    return [None if shape is None else piece.reshape(shape) for shape, piece in zip(shapes, pieces, strict=True)]
