"""Operations that move entries: views, transpositions, slices, sums and means over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from taskloom.engine.layers.rows import axes_of, signed
from taskloom.engine.replay.elementwise import summed_to
from taskloom.engine.replay.site import Gradient, Operation, Patch, Site

__all__ = ["concatenated", "expanded", "part_of", "permuted", "repeated", "same", "several_parts", "stacked", "viewed"]


def _single(change: Callable[[Tensor], Gradient]) -> Operation:
    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        return [None if gradient is None else change(gradient)]

    return apply


def same(site: Site) -> Operation:
    """The entries stay."""
    return _single(lambda gradient: gradient)


def viewed(site: Site) -> Operation:
    """The order of entries stays."""
    shape = site.inside[0]
    return _single(lambda gradient: gradient.reshape(gradient.shape[0], *shape))


def expanded(site: Site) -> Operation:
    """An input is repeated along axes."""
    return _single(lambda gradient: summed_to(gradient, site.inside[0]))


def permuted(site: Site) -> Operation:
    """Axes change places."""
    n_axes = len(site.outside[0])
    order = list(range(n_axes))
    if site.name == "PermuteBackward0":
        taken = axes_of(site.node._saved_dims, n_axes)
        order = [taken.index(axis) for axis in range(n_axes)]
    elif n_axes > 1:
        first, second = (0, 1) if site.name == "TBackward0" else _two_axes(site.node, n_axes)
        order[first], order[second] = order[second], order[first]
    axes = [0, *(axis + 1 for axis in order)]
    return _single(lambda gradient: gradient.permute(axes))


def _two_axes(node: Any, n_axes: int) -> tuple[int, ...]:
    return axes_of((node._saved_dim0, node._saved_dim1), n_axes)


def repeated(site: Site) -> Operation:
    """Sum or mean over axes: every entry gets the gradient of the sum it went into."""
    shape, outside = site.inside[0], site.outside[0]
    dims = getattr(site.node, "_saved_dim", None)
    summed = set(axes_of(dims, len(shape))) if dims is not None and dims != () else set(range(len(shape)))
    kept = [1 if axis in summed else size for axis, size in enumerate(shape)]
    size = math.prod(shape) / max(math.prod(outside), 1) if site.name.startswith("Mean") else 1.0

    def change(gradient: Tensor) -> Tensor:
        n_tasks = gradient.shape[0]
        gradient = gradient if size == 1 else gradient / size
        return gradient.reshape(n_tasks, *kept).expand(n_tasks, *shape)

    return _single(change)


def part_of(site: Site) -> Operation:
    """A slice along an axis, or one entry of it."""
    node, shape = site.node, site.inside[0]
    (axis,) = axes_of(node._saved_dim, len(shape))
    where: int | slice
    if site.name == "SelectBackward0":
        where = signed(node._saved_index) % shape[axis]
    else:
        start, end = signed(node._saved_start), signed(node._saved_end)
        where = slice(*slice(start, end, int(node._saved_step)).indices(shape[axis]))
    whole = (*[slice(None)] * axis, where)
    return _single(lambda gradient: Patch(whole, gradient))


def several_parts(site: Site) -> Operation:
    """All parts along an axis, some of which nobody reads."""
    node, shape = site.node, site.inside[0]
    (axis,) = axes_of(node._saved_dim, len(shape))
    is_unbound = site.name == "UnbindBackward0"

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        like = next(one for one in gradients if one is not None)
        parts = [
            like.new_zeros(like.shape[0], *own) if one is None else one
            for one, own in zip(gradients, site.outside, strict=True)
        ]
        return [torch.stack(parts, axis + 1) if is_unbound else torch.cat(parts, axis + 1)]

    return apply


def concatenated(site: Site) -> Operation | None:
    """Tensors side by side along an axis."""
    if not all(site.wanted):  # the lengths of the others are not known
        return None
    (axis,) = axes_of(site.node._saved_dim, len(site.outside[0]))
    sizes = [shape[axis] for shape in site.inside]

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        return [None] * len(sizes) if gradient is None else list(gradient.split(sizes, axis + 1))

    return apply


def stacked(site: Site) -> Operation:
    """Tensors along a new axis."""
    (axis,) = axes_of(site.node._saved_dim, len(site.outside[0]))

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        return [None] * len(site.wanted) if gradient is None else list(gradient.unbind(axis + 1))

    return apply
