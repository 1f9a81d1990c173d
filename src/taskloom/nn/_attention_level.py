"""One stage of a multi-task attention network: the shared pair, the masks, and what leads there from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import couples_rows, run_together
from taskloom.nn.attention._mask import are_alike, run_masks
from taskloom.nn.attention.base import Attention
from taskloom.nn.parallel import Parallel

__all__ = ["Level", "attend", "attend_folded", "channels_last", "shared_features"]


class Level(nn.Module):
    """The modules of stage l.

    Args:
        body: the stage without its last block, gives u.
        last: the last block, gives p.
        masks: one per task.
        refines: what maps features of stage l - 1 to the channels of this one: one for all tasks, or one per task; none
            at the first stage.
        norms: what stands behind them, one for all tasks or one per task.
    """

    def __init__(
        self, body: nn.Module, last: nn.Module, *, masks: Parallel, refines: Parallel, norms: Parallel
    ) -> None:
        super().__init__()
        self.body = body
        self.last = last
        self.masks = masks
        self.refines = refines
        self.norms = norms

    def only(self, index: int) -> Level:
        """The level of one task, of the same modules."""
        refines, norms = (Parallel(parts[k] for k in _members(parts, [index])) for parts in (self.refines, self.norms))
        return Level(self.body, self.last, masks=Parallel([self.masks[index]]), refines=refines, norms=norms)


def channels_last(inputs: Any) -> Any:
    """Images with the channels of a position side by side in memory; anything else as it is.

    Convolutions and pooling are quicker on them, and 1x1 convolutions are matrix products without copies.
    """
    if isinstance(inputs, Tensor) and inputs.ndim == 4:
        return inputs.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return inputs


def shared_features(levels: Sequence[Level], inputs: Sequence[Any]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Per level, u and p of every input. An input given several times (the same object) is computed once."""
    states, found = list(inputs), []
    for number, level in enumerate(levels):
        bodies = run_together(level.body, states)
        states = run_together(level.last, bodies)
        found.append(([_tensor(state, number) for state in bodies], [_tensor(state, number) for state in states]))
    return found


def _tensor(state: Any, number: int) -> Tensor:
    """The features of what a stage gives: itself, or the first item of a tuple."""
    features = state[0] if isinstance(state, tuple) else state
    if not isinstance(features, Tensor):
        raise TaskError(
            f"MTAN multiplies tensors, stage {number} returned a {type(state).__name__}; return a tensor, or a tuple "
            "whose first item is one"
        )
    return features


def attend(
    level: Level,
    us: Sequence[Tensor],
    ps: Sequence[Tensor],
    *,
    before: Sequence[Tensor] | None,
    members: Sequence[int],
    attention: Attention,
) -> tuple[list[Tensor], list[Tensor]]:
    """Features of some tasks at a level, and their masks.

    Args:
        level: the level.
        us: u, one per task.
        ps: p, one per task.
        before: features of the tasks at the level before, or None at the first.
        members: indices of the tasks.
        attention: says how features are resized, and where their channels are.
    """
    inputs = list(us)
    if before is not None:
        refined = _run(level.norms, _run(level.refines, before, members), members)
        resized = [attention.resize(own, u) for own, u in zip(refined, us, strict=True)]
        inputs = [torch.cat([u, own], dim=attention.dimension) for u, own in zip(us, resized, strict=True)]
    masks = level.masks.run(inputs, members=members)
    return [mask * p for mask, p in zip(masks, ps, strict=True)], masks


def attend_folded(
    level: Level, u: Tensor, p: Tensor, *, before: Tensor | None, members: Sequence[int], attention: Attention
) -> Tensor | None:
    """As :func:`attend` for one input common to K tasks, whose rows (n, ...) are laid one behind the other.

    Args:
        level: the level.
        u: (n, ...).
        p: (n, ...).
        before: features of all K tasks at the level before, (K n, ...), or None at the first.
        members: indices of the tasks.
        attention: says how features are resized, and where their channels are.

    Returns:
        (K n, ...), or None when the masks are not alike.
    """
    masks = [level.masks[member] for member in members]
    if not are_alike(masks):
        return None
    axis, own = attention.dimension, None
    if before is not None:
        refined = _run_stacked(level.norms, _run_stacked(level.refines, before, members), members)
        positions = attention.resize(refined, u).movedim(axis, -1)
        own = positions.reshape(len(members), -1, positions.shape[-1])
    positions = u.movedim(axis, -1)
    found = run_masks(masks, positions.flatten(0, -2), own)  # (K, N, C)
    gated = found * p.movedim(axis, -1).flatten(0, -2)
    rows = len(members) * positions.shape[0]
    return gated.reshape(rows, *positions.shape[1:-1], gated.shape[-1]).movedim(-1, axis)


def _members(parts: Parallel, members: Sequence[int]) -> list[int]:
    """Which module serves each task: its own, or the one that all share."""
    if len(parts) == 0:
        return []
    return [0] * len(members) if len(parts) == 1 else list(members)


def _run(parts: Parallel, inputs: Sequence[Tensor], members: Sequence[int]) -> list[Tensor]:
    if len(parts) == 1:
        return run_together(parts[0], inputs)
    return parts.run(inputs, members=members)


def _run_stacked(parts: Parallel, stacked: Tensor, members: Sequence[int]) -> Tensor:
    if len(parts) == 1 and not couples_rows(parts[0]):
        result: Tensor = parts[0](stacked)
        return result
    blocks = zip(_members(parts, members), stacked.chunk(len(members)), strict=True)
    return torch.cat([parts[member](block) for member, block in blocks])
