"""One of two modules at every depth, chosen by each task; or, before it has chosen, a share of both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from taskloom.errors import TaskError
from taskloom.nn._batching import run_together

__all__ = ["mixture", "run_selected"]


def run_selected(
    pairs: Iterable[tuple[nn.Module, nn.Module]],
    parts: Sequence[Any],
    *,
    selected: Sequence[Sequence[bool]],
    together: bool,
) -> list[Any]:
    """Run pairs of modules after each other, of each pair the one that a task has selected.

    Tasks that came by the same modules from the same input are computed once.

    Args:
        pairs: at every depth the module of True, and that of False.
        parts: input of each task; equal objects are one input.
        selected: a row per task, an entry per depth.
        together: run a module on the inputs of several tasks in one go; otherwise one by one.
    """
    hidden = list(parts)
    for depth, (yes, no) in enumerate(pairs):
        done: dict[tuple[int, bool], Any] = {}
        for choice, module in ((True, yes), (False, no)):
            own = [part for part, row in zip(hidden, selected, strict=True) if row[depth] is choice]
            distinct = list({id(part): part for part in own}.values())
            outputs = run_together(module, distinct) if together and len(distinct) > 1 else map(module, distinct)
            done |= {(id(part), choice): output for part, output in zip(distinct, outputs, strict=True)}
        hidden = [done[id(part), row[depth]] for part, row in zip(hidden, selected, strict=True)]
    return hidden


def mixture(depth: int, share: Tensor, ran: Any, skipped: Any) -> Tensor:
    """What a task goes on with that runs a block with a share of its feature, and skips it with the rest."""
    if ran.shape != skipped.shape:
        raise TaskError(
            f"block {depth} gives {tuple(ran.shape[1:])} but its skip returns {tuple(skipped.shape[1:])}; give a "
            "pair (block, skip) whose skip changes the shape as the block does"
        )
    mixed: Tensor = share * ran + (1 - share) * skipped
    return mixed
