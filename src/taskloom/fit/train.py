"""Carry out trainings: those of one shape together, the others one by one. The results are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taskloom.fit.batchable import reason_against_batching, shape_signature
from taskloom.fit.batched import train_batched
from taskloom.fit.result import FitResult
from taskloom.fit.training import Training

__all__ = ["train"]

# Parameters of one batched run, at most: with gradient, moments and best copy 5 numbers each, 1 GB in float32.
_LARGEST_RUN = 50_000_000


def train(
    trainings: Sequence[Training], *, batched: bool = True, finished: Callable[[int], None] | None = None
) -> list[FitResult]:
    """Train networks.

    Args:
        trainings: what to train.
        batched: train networks of one shape together; False uses Lightning's Trainer for each.
        finished: called with the number of trainings just finished.

    Returns:
        one result per training, in order. How trainings are grouped depends on them alone, not on the machine, so that
        a repeated call repeats the arithmetic.

    Example:
        >>> train([])
        []
    """
    alone = {
        position
        for position, training in enumerate(trainings)
        if not batched or reason_against_batching(training) is not None
    }
    groups: dict[object, list[int]] = {}
    for position, training in enumerate(trainings):
        key = ("alone", position) if position in alone else shape_signature(training)
        groups.setdefault(key, []).append(position)
    results: dict[int, FitResult] = {}
    for positions in groups.values():
        for part in _parts(trainings, positions):
            members = [trainings[position] for position in part]
            made = [_train_alone(members[0])] if part[0] in alone else train_batched(members)
            results.update(zip(part, made, strict=True))
            if finished is not None:
                finished(len(part))
    return [results[position] for position in range(len(trainings))]


def _train_alone(training: Training) -> FitResult:
    from taskloom.fit.alone import train_with_trainer  # loads Lightning, which batched runs do not need

    return train_with_trainer(training)


def _parts(trainings: Sequence[Training], positions: list[int]) -> list[list[int]]:
    """Split a group so that no run holds more than `_LARGEST_RUN` parameters."""
    size = sum(parameter.numel() for parameter in trainings[positions[0]].model.parameters())
    at_once = max(1, _LARGEST_RUN // max(1, size))
    return [positions[start : start + at_once] for start in range(0, len(positions), at_once)]
