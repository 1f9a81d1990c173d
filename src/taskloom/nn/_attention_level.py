"""One stage of a multi-task attention network: the shared pair, the masks, and what leads there from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import computes_together, couples_rows, joined_rows, run_together
from taskloom.nn.attention._mask import PositionMask, are_alike, from_rows, rows_of, run_masks
from taskloom.nn.attention.base import Attention
from taskloom.nn.parallel import Parallel

__all__ = ["Level", "attend", "shared_features"]

STACK_BELOW = 2**14
"""Masks of more than two tasks are computed with stacked weights when a task has fewer numbers than this.

Measured on one CPU core, forward and backward, 5 to 40 tasks: 1.4 to 2.3 times as fast as a loop for 64 rows of 16 and
128 of 32, 1.2 to 1.3 times for 128 rows of 64, even for 128 rows of 128; on images of more numbers slower, since one
task at a time stays in the cache. With two tasks a loop is as fast.
"""

TOGETHER_UP_TO = 2**17
"""A refinement that all tasks share is applied to all of them at once up to this many numbers per task.

Measured as above on 3x3 convolutions: 1.1 to 1.9 times as fast below, up to 1.15 times slower above. Rows of features
have the limit of the masks.
"""


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

    def parts(self) -> tuple[Parallel, Parallel, Parallel]:
        """What the tasks have: masks, refines, norms."""
        return self.masks, self.refines, self.norms

    def only(self, index: int) -> Level:
        """The level of one task, of the same modules."""
        refines, norms = ([*parts][index : index + 1] or [*parts] for parts in (self.refines, self.norms))
        masks = Parallel([self.masks[index]])
        return Level(self.body, self.last, masks=masks, refines=Parallel(refines), norms=Parallel(norms))


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
    own = None
    if before is not None:
        refined = _refined(level, before, members)
        own = [attention.resize(part, u) for part, u in zip(refined, us, strict=True)]
    masks = _masks(level.masks, us, own, members, attention.dimension)
    return [mask * p for mask, p in zip(masks, ps, strict=True)], masks


def _refined(level: Level, before: Sequence[Tensor], members: Sequence[int]) -> list[Tensor]:
    """``norm(refine(o))`` per task; in one go where both are shared and no row depends on another."""
    if len(level.refines) == len(level.norms) == 1 and not couples_rows(level.norms[0]):
        refine, norm = level.refines[0], level.norms[0]
        rows = joined_rows(refine, before) if _goes_together(refine, before) else None
        if rows is None:
            return [norm(refine(part)) for part in before]
        return list(norm(refine(rows)).split([len(part) for part in before]))
    refined = _run(level.refines, before, members)
    return _run(level.norms, refined, members)


def _run(parts: Parallel, inputs: Sequence[Tensor], members: Sequence[int]) -> list[Tensor]:
    return parts.run(inputs, members=members) if len(parts) > 1 else _shared_run(parts[0], inputs)


def _shared_run(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """One module on the inputs of all tasks, small ones laid one behind the other."""
    return run_together(module, inputs) if _goes_together(module, inputs) else [module(part) for part in inputs]


def _goes_together(module: nn.Module, inputs: Sequence[Tensor]) -> bool:
    most = TOGETHER_UP_TO if inputs[0].ndim == 4 else STACK_BELOW - 1
    # the mode first: a graph of the evaluation must not depend on the number of rows
    return len(inputs) > 1 and computes_together(module) and inputs[0].numel() <= most


def _masks(
    parts: Parallel, us: Sequence[Tensor], own: Sequence[Tensor] | None, members: Sequence[int], axis: int
) -> list[Tensor]:
    chosen = [parts[member] for member in members]
    is_small = len(chosen) > 2 and computes_together(parts) and us[0].numel() < STACK_BELOW and _one_shape(us)
    if is_small and are_alike(chosen):
        return _stacked(chosen, us, own, axis)
    are_usual = all(type(mask) is PositionMask for mask in chosen)
    if are_usual and own is not None and us[0].ndim > 2:  # many positions: split weights rather than join features
        return [mask(u, part) for mask, u, part in zip(chosen, us, own, strict=True)]
    joined = us if own is None else [torch.cat([u, part], dim=axis) for u, part in zip(us, own, strict=True)]
    if are_usual:
        return [mask(part) for mask, part in zip(chosen, joined, strict=True)]
    return parts.run(joined, members=members)


def _stacked(masks: Sequence[nn.Module], us: Sequence[Tensor], own: Sequence[Tensor] | None, axis: int) -> list[Tensor]:
    is_common = all(u is us[0] for u in us)
    common = rows_of(us[0], axis) if is_common else torch.stack([rows_of(u, axis) for u in us])
    found = run_masks(masks, common, None if own is None else torch.stack([rows_of(part, axis) for part in own]))
    return [from_rows(mask, us[0], axis) for mask in found.unbind(0)]


def _one_shape(values: Sequence[Tensor]) -> bool:
    return all(value.shape == values[0].shape for value in values)
