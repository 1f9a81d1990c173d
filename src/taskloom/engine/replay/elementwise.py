"""Operations that work entry by entry, and their sums over axes along which an input was repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from taskloom.engine.replay.site import Gradient, InPlace, Operation, Site

__all__ = ["added", "multiplied", "scaled_entries", "summed_to"]


def summed_to(gradient: Tensor, shape: Sequence[int]) -> Tensor:
    """Sum of (c, *outside) over the axes along which an input of this shape was repeated: (c, *shape)."""
    extra = gradient.ndim - 1 - len(shape)
    if extra:
        gradient = gradient.sum(tuple(range(1, extra + 1)))
    repeated = [axis + 1 for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis + 1] != 1]
    return gradient.sum(repeated, keepdim=True) if repeated else gradient


def scaled_entries(site: Site) -> Operation | None:
    """An operation whose every output entry depends on the same entry of its inputs alone.

    How steep it is there is what autograd's own rule makes of ones.
    """
    shape = site.outside[0]
    if any(is_wanted and inside != shape for is_wanted, inside in zip(site.wanted, site.inside, strict=True)):
        return None
    ones = torch.ones((), device=site.node._input_metadata[0].device).expand(shape)
    slopes = site.own([ones, *[None] * (len(site.outside) - 1)])
    steep = [
        None if one is None or not want else one.to(site.dtype) for one, want in zip(slopes, site.wanted, strict=False)
    ]

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        gradient = gradients[0]
        return [None if one is None or gradient is None else gradient * one for one in steep]

    def overwrite(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,), (slope,) = gradients, steep
        if gradient is None or slope is None or not gradient.is_contiguous():
            return apply(gradients)
        return [gradient.mul_(slope)]

    return InPlace(apply, overwrite) if len(steep) == 1 else apply


def added(signs: tuple[float, float]) -> Callable[[Site], Operation | None]:
    """Sum or difference, whose inputs may be repeated along axes."""

    def make(site: Site) -> Operation:
        alpha = float(getattr(site.node, "_saved_alpha", 1))
        factors = (signs[0], signs[1] * alpha)

        def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
            (gradient,) = gradients
            found: list[Gradient] = []
            for factor, inside, is_wanted in zip(factors, site.inside, site.wanted, strict=False):
                if gradient is None or not is_wanted:
                    found.append(None)
                    continue
                own = summed_to(gradient, inside)
                found.append(own if factor == 1 else own * factor)
            return found

        return apply

    return make


def multiplied(site: Site) -> Operation | None:
    """Product, one of whose factors may be repeated along axes."""
    partners: list[Tensor | None] = []
    for name, is_wanted in zip(("other", "self"), site.wanted, strict=True):
        raw = getattr(site.node, f"_saved_{name}") if is_wanted else None
        partners.append(None if raw is None else raw.detach().to(site.dtype))

    def apply(gradients: Sequence[Tensor | None]) -> Sequence[Gradient]:
        (gradient,) = gradients
        return [
            None if partner is None or gradient is None else summed_to(gradient * partner, inside)
            for partner, inside in zip(partners, site.inside, strict=True)
        ]

    return apply
