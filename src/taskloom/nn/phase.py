"""A phase: one stretch of training in which certain groups of parameters are trained on certain data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskloom.errors import TaskError, nearest

if TYPE_CHECKING:
    from torch import nn

    from taskloom.data.batch import Batch

__all__ = ["Phase"]

_GROUPS = ("shared", "task", "structure")
_SPLITS = ("train", "weights", "policy")


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What is trained, on which part of the training data, for how long, with which hooks.

    The trainer owns optimisers and data. For each phase it calls ``on_enter``, lets only the groups in ``train`` learn,
    runs the steps with ``on_step(i, n)`` after each, shows the data to ``review``, calls ``on_exit``, and goes on with
    what ``derive()`` returns if ``derives`` says so. Coupling parameters (common copies) are trained whenever the
    shared or the task parameters are.

    Args:
        name: shown in logs, for example ``"warmup"``.
        steps: number of optimiser steps; None: as long as the trainer says.
        epochs: number of epochs, instead of steps.
        train: parameter groups that learn: ``"shared"``, ``"task"``, ``"structure"``; default all.
        split: part of the training data, ``"train"`` (all of it), or for networks that learn weights and structure on
            different rows ``"weights"`` (80 %) or ``"policy"`` (the other 20 %).
        tasks: names of the tasks whose losses count; None: all.
        penalties: ``"all"``, ``"none"``, or names of the penalties that count in this phase.
        on_enter: called before the first step.
        on_step: called after every step with the step index i and the number of steps n.
        review: called after the last step, in evaluation mode and without gradients, with the batches of the phase's
            part of the data, for what has to see examples (affinities of tasks, running statistics).
        on_exit: called after the last step and the review.
        optimiser: makes the optimiser of this phase from parameters; None: the trainer's.
        inherits: called when the optimiser of this phase is made; new parameter -> old parameter whose moments it takes
            over (its own, for a parameter that goes on learning). None: an optimiser that other phases of the same
            parameters have used, or a new one.
        fresh_weights: start the phase from newly drawn weights (:meth:`MultiTaskModel.reset_weights`).
        derives: after this phase the network is replaced by ``model.derive()``; the phases that follow train that.

    Raises:
        TaskError: both steps and epochs are given, one of them is below 1, or a group or a split is unknown.

    Example:
        >>> Phase(name="warmup", epochs=2, train=("shared", "task")).split
        'train'
    """

    name: str
    steps: int | None = None
    epochs: int | None = None
    train: tuple[str, ...] = _GROUPS
    split: str = "train"
    tasks: tuple[str, ...] | None = None
    penalties: str | tuple[str, ...] = "all"
    on_enter: Callable[[], None] | None = None
    on_step: Callable[[int, int], None] | None = None
    review: Callable[[Iterable[Batch]], None] | None = None
    on_exit: Callable[[], None] | None = None
    optimiser: Callable[..., Any] | None = None
    inherits: Callable[[], Mapping[nn.Parameter, nn.Parameter]] | None = None
    fresh_weights: bool = False
    derives: bool = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise TaskError(f"phase {self.name!r}: give steps or epochs, not both")
        if any(length is not None and length < 1 for length in (self.steps, self.epochs)):
            raise TaskError(f"phase {self.name!r}: steps and epochs must be 1 or more")
        unknown = [group for group in self.train if group not in _GROUPS]
        if unknown:
            raise TaskError(f"phase {self.name!r}: unknown parameter groups {unknown}; known: {list(_GROUPS)}")
        if self.split not in _SPLITS:
            known = f"known: {list(_SPLITS)}.{nearest(self.split, _SPLITS)}"
            raise TaskError(f"phase {self.name!r}: unknown split {self.split!r}; {known}")
