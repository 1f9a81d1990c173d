"""Builds levels of experts and gates, and says what does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from taskloom.errors import TaskError, nearest
from taskloom.nn._alike import are_copies
from taskloom.nn._expert_level import ExpertLevel, Gating
from taskloom.nn._expert_levels import ExpertLevels
from taskloom.nn.adapters import build_copies
from taskloom.nn.gates.base import GateRule
from taskloom.nn.gates.rows import GateInput, check_gate_input, gate_rows
from taskloom.nn.parallel import Parallel

__all__ = ["ExpertFactory", "GateInputs", "build_levels", "each_level", "own_counts"]

ExpertFactory = nn.Module | Callable[[], nn.Module]
GateInputs = GateInput | Sequence[GateInput | None] | None


def own_counts(n_own: int | Mapping[str, int], tasks: Sequence[str]) -> list[int]:
    """Number of own experts of each task.

    Raises:
        TaskError: a task without an entry, an unknown one, or a negative number.
    """
    if not isinstance(n_own, Mapping):
        n_own = dict.fromkeys(tasks, n_own)
    for task in n_own:
        if task not in tasks:
            raise TaskError(f"n_own has an entry for the unknown task {task!r}.{nearest(str(task), tasks)}")
    for task in tasks:
        if task not in n_own:
            raise TaskError(
                f"n_own has no entry for task {task!r}; give every task a number, 0 if it has no own expert"
            )
        if n_own[task] < 0:
            raise TaskError(f"n_own of task {task!r} must be 0 or more, found {n_own[task]}")
    return [int(n_own[task]) for task in tasks]


def build_levels(
    experts: Sequence[ExpertFactory],
    tasks: Sequence[str],
    *,
    n_shared: int,
    n_own: Sequence[int],
    rule: GateRule,
    gate_input: GateInputs,
    example: Any,
) -> tuple[ExpertLevels, Any]:
    """Levels for these tasks, and what the last one reads of the example (None without one).

    Args:
        experts: one factory, or module to copy, per level.
        tasks: names of the tasks.
        n_shared: number of shared experts per level.
        n_own: number of own experts per level, of each task.
        rule: the rule of all gates.
        gate_input: what the gates of a level read: one function for all levels or one per level; None: pooled states.
        example: sample input.

    Raises:
        TaskError: no level, a task without an expert, or a width that is not known.
    """
    if n_shared < 0:
        raise TaskError(f"n_shared must be 0 or more, found {n_shared}")
    for task, count in zip(tasks, n_own, strict=True):
        if n_shared + count == 0:
            raise TaskError(
                f"task {task!r} has no expert at level 1 (n_shared=0, n_own=0); share experts or give it own ones"
            )
    levels: list[ExpertLevel] = []
    n_experts = sum(n_own) + n_shared
    parts = list(each_level(experts, n_experts=n_experts, rule=rule, gate_input=gate_input, example=example))
    for depth, (built, gating, _) in enumerate(parts):
        gates = [gating.build(count + n_shared) for count in n_own]
        has_shared_gate = depth < len(experts) - 1 and n_shared > 0
        shared_gate = gating.build(len(built)) if has_shared_gate else None
        levels.append(ExpertLevel(built, gates, n_own=n_own, shared_gate=shared_gate, gating=gating))
    feeds = n_shared > 0 and len(levels) > 1
    return ExpertLevels(levels, [task for task, count in enumerate(n_own) if feeds and count > 0]), parts[-1][2]


def each_level(
    experts: Sequence[ExpertFactory],
    *,
    n_experts: int,
    rule: GateRule,
    gate_input: GateInputs,
    example: Any,
) -> Iterator[tuple[Parallel, Gating, Any]]:
    """The experts of each level, what its gates read, and what of the example it reads (None without one).

    Args:
        experts: one factory, or module to copy, per level.
        n_experts: how many experts each level has.
        rule: the rule of all gates.
        gate_input: what the gates of a level read, as for :func:`build_levels`.
        example: sample input.

    Raises:
        TaskError: no level, or a width that is not known.
    """
    if not experts:
        raise TaskError("an architecture of experts needs at least one level; give one expert factory per level")
    before: nn.Module | None = None
    is_noted = False
    reads = _per_level(gate_input, len(experts))
    for depth, (factory, read) in enumerate(zip(experts, reads, strict=True), 1):
        built = build_copies(factory, n_experts, what="expert")
        is_noted = is_noted or _warns_of_copies(built, depth)
        width = 1  # of what gates without input read: nothing
        if not rule.is_static:
            width = _gate_width(before, built[0], read, example, depth, is_needed=n_experts > 1)
        yield built, Gating(rule, width, read), example
        before, example = built[0], _output(built[0], example) if depth < len(experts) else None


def _per_level(gate_input: GateInputs, n_levels: int) -> list[GateInput | None]:
    inputs = list(gate_input) if isinstance(gate_input, Sequence) else [gate_input] * n_levels
    if len(inputs) != n_levels:
        raise TaskError(f"gate_input has {len(inputs)} entries, but there are {n_levels} levels; give one per level")
    for each in inputs:
        check_gate_input(each)
    return inputs


def _gate_width(
    before: nn.Module | None, expert: nn.Module, read: GateInput | None, example: Any, depth: int, *, is_needed: bool
) -> int:
    """Width of the rows that the gates of a level read; 0 if it is not known and there are none."""
    width = getattr(expert, "in_features", None) if before is None else getattr(before, "out_features", None)
    if example is not None and is_needed:
        return int(gate_rows(example, read).shape[1])
    if read is None and isinstance(width, int):
        return width
    if not is_needed:
        return 0
    reason = (
        "gate_input is a function of yours"
        if read is not None
        else f"{type(expert).__name__} does not say its in_features"
        if before is None
        else f"{type(before).__name__} does not say its out_features"
    )
    raise TaskError(
        f"the width of what the gates of level {depth} read is not known, since {reason}; give example= (a sample "
        "input)"
    )


def _output(expert: nn.Module, example: Any) -> Any:
    """What an expert makes of a sample, in evaluation mode."""
    if example is None:
        return None
    modes = [(part, part.training) for part in expert.modules()]
    try:
        with torch.no_grad():
            return expert.eval()(example)
    finally:
        for part, training in modes:
            part.training = training


def _warns_of_copies(experts: Parallel, depth: int) -> bool:
    """Whether there was reason to warn of experts with equal weights."""
    is_copied = are_copies(list(experts))
    if is_copied:
        warnings.warn(
            f"experts of level {depth} are identical copies: the gates have nothing to choose between and learn "
            "nothing; give a factory that draws new weights in each call",
            stacklevel=6,
        )
    return is_copied
