"""Stages in two parts, body and last block: as the user gives them, and the shapes of their features."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import nn

from taskloom.errors import TaskError
from taskloom.nn._layout import channels_last
from taskloom.nn.attention.base import Attention
from taskloom.nn.attention.image import ImageAttention
from taskloom.nn.attention.row import RowAttention
from taskloom.nn.encoders.dry_run import dry_run

__all__ = ["HasPairs", "Pair", "as_pairs", "shapes_of"]

Pair = tuple[nn.Module, nn.Module]


@runtime_checkable
class HasPairs(Protocol):
    """An encoder whose stages come in two parts."""

    def pairs(self) -> Sequence[Pair]: ...


def as_pairs(stages: HasPairs | Sequence[nn.Module | Pair]) -> list[Pair]:
    """The pairs of an encoder, or of a list of pairs and modules; a module alone is followed by the identity.

    Raises:
        TaskError: no stages, or an encoder without pairs.
    """
    if isinstance(stages, HasPairs):
        return list(stages.pairs())
    if isinstance(stages, nn.Module) and not isinstance(stages, nn.Sequential | nn.ModuleList):
        raise TaskError(
            f"{type(stages).__name__} has no method pairs(); give the stages as a list of pairs (body, last), or cut "
            "it with stages_of(encoder, cuts=[...])"
        )
    pairs: list[Pair] = []
    for number, stage in enumerate(stages):
        if isinstance(stage, nn.Module):
            warnings.warn(
                f"stage {number} is one module, not a pair (body, last): its masks see the features that they gate",
                stacklevel=3,
            )
            pairs.append((stage, nn.Identity()))
        else:
            body, last = stage
            pairs.append((body, last))
    if not pairs:
        raise TaskError("MTAN needs at least one stage")
    return pairs


def shapes_of(
    pairs: Sequence[Pair], *, channels: Sequence[int] | None, attention: Attention | None, example: Any
) -> tuple[list[int], Attention]:
    """Channels of every stage, and the attention: as given, or as a run on the example tells.

    Raises:
        TaskError: neither example nor channels, or a stage whose two parts differ in shape.
    """
    if example is None:
        if channels is None or attention is None:
            raise TaskError(
                "MTAN needs the shapes of its stages: give example= (a sample input), or both channels= and attention="
            )
        if len(channels) != len(pairs):
            raise TaskError(f"channels has {len(channels)} numbers, but there are {len(pairs)} stages")
        return [int(width) for width in channels], attention
    shapes = dry_run([part for pair in pairs for part in pair], channels_last(example))
    for number, (u, p) in enumerate(zip(shapes[::2], shapes[1::2], strict=True)):
        if u != p:
            raise TaskError(
                f"stage {number}: its body gives {tuple(u)} and its last block {tuple(p)}; a mask from the former must "
                "fit the latter"
            )
    found = attention if attention is not None else ImageAttention() if len(shapes[0]) == 4 else RowAttention()
    widths = [shape[found.dimension] for shape in shapes[::2]]
    if channels is not None and list(channels) != widths:
        raise TaskError(f"channels is {list(channels)}, but the stages give {widths}; leave channels out")
    return widths, found
