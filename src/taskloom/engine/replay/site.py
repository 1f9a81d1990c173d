"""One operation of the graph as the replay sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from taskloom.engine.layers.rows import shape_of

__all__ = ["Gradient", "InPlace", "Maker", "Operation", "Patch", "Site", "site_of"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Patch:
    """A gradient that is zero outside a part.

    Args:
        where: index of the part, without the axis of tasks.
        values: (c, *part).
    """

    where: tuple[int | slice, ...]
    values: Tensor

    @property
    def entry(self) -> int:
        """Which entry of the last axis of the index it is; -1 for several."""
        last = self.where[-1]
        return -1 if isinstance(last, slice) else last


Gradient = Tensor | Patch | None
Operation = Callable[[Sequence[Tensor | None]], Sequence[Gradient]]
"""From the gradients (c, *output) of the outputs of an operation, None for zero, to those of its inputs (c, *input)."""


@dataclass(frozen=True)
class InPlace:
    """An operation that can write its result where the gradient was.

    Args:
        apply: the operation.
        overwrite: the same, writing to the gradient that it is given.
    """

    apply: Operation
    overwrite: Operation

    def __call__(self, gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        return self.apply(gradients)


@dataclass(frozen=True)
class Site:
    """One operation of the forward pass.

    Args:
        node: the node of the graph.
        name: its kind.
        wanted: which of its inputs a gradient is wanted for.
        inside: shapes of the inputs; () where none is wanted.
        outside: shapes of the outputs.
        dtype: precision of the replay.
    """

    node: Any
    name: str
    wanted: tuple[bool, ...]
    inside: tuple[Shape, ...]
    outside: tuple[Shape, ...]
    dtype: torch.dtype

    def saved(self, name: str) -> Tensor:
        """A tensor that the operation has saved, as it is.

        Raises:
            RuntimeError: it was changed in place since, or the graph was freed.
        """
        found: Tensor = getattr(self.node, f"_saved_{name}")
        return found.detach()

    def own(self, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """What autograd's own rule makes of the gradients of one task, in the precision of the graph."""
        given = []
        for gradient, like in zip(gradients, self.node._input_metadata, strict=True):
            given.append(None if gradient is None else gradient.to(like.dtype))
        found = self.node(*given)
        result: list[Tensor | None] = []
        for one, is_wanted, shape in zip(_several(found), self.wanted, self.inside, strict=False):
            if one is None or not is_wanted:
                result.append(None)
            else:  # summing over axes along which an input was repeated is left to who calls
                result.append(one if tuple(one.shape) == shape else one.sum_to_size(shape))
        return result


def _several(found: Any) -> Sequence[Tensor | None]:
    return found if isinstance(found, tuple) else (found,)


Maker = Callable[[Site], Operation | None]
"""Makes the operation of a site, or None where this way of making it does not cover the site."""


def site_of(node: Any, following: Sequence[Any], wanted: Sequence[bool], dtype: torch.dtype) -> Site:
    """The site of a node.

    Args:
        node: the node.
        following: nodes of its inputs, and which of their outputs.
        wanted: which of the inputs a gradient is wanted for.
        dtype: precision of the replay.
    """
    inside = tuple(
        shape_of(child, output) if is_wanted else ()
        for (child, output), is_wanted in zip(following, wanted, strict=True)
    )
    outside = tuple(tuple(like.shape) for like in node._input_metadata)
    return Site(node, node.name(), tuple(wanted), inside, outside, dtype)
