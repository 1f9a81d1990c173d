"""The scores of one task on both sides of a comparison: checked, sorted by seed, paired where they should be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from taskloom.errors import DataError, TaskError, nearest

__all__ = ["Denominator", "Runs", "Scores", "collect_runs", "direction", "matching_tasks", "mean_or_nan"]

Scores = Mapping[str, Mapping[int, float]]
Denominator = Literal["single", "joint", "absolute"]


@dataclass(frozen=True, slots=True)
class Runs:
    """Scores of one task that enter the comparison; paired runs stand at the same place."""

    task: str
    lower_is_better: bool
    single_seeds: tuple[int, ...]
    joint_seeds: tuple[int, ...]
    single: np.ndarray
    joint: np.ndarray
    n_dropped: int
    is_paired: bool

    def gains(self, denominator: Denominator, values: np.ndarray | None = None) -> np.ndarray:
        """Gain of every value (default: the joint scores) over its single run, or over their mean if unpaired."""
        values = self.joint if values is None else values
        reference = self.single if self.is_paired else np.full(len(values), mean_or_nan(self.single))
        differences: np.ndarray = reference - values if self.lower_is_better else values - reference
        if denominator == "absolute":
            return differences
        if denominator == "single":
            divisor = reference
        else:
            divisor = values if self.is_paired else np.full(len(values), mean_or_nan(self.joint))
        small = np.flatnonzero(np.abs(divisor) < 1e-12)
        if len(small):
            raise DataError(
                f"task {self.task!r}: found a {denominator}-task score of {divisor[small[0]]:g}, to which no relative "
                "gain exists; expected scores away from 0. Use denominator='absolute'."
            )
        gains: np.ndarray = 100.0 * differences / np.abs(divisor)
        return gains

    def all_worse(self, gains: Sequence[float]) -> bool:
        """Whether every seed says worse; for unpaired runs, whether every joint run is worse than every single run."""
        if self.is_paired:
            return all(gain < 0.0 for gain in gains)
        if self.lower_is_better:
            return bool(self.joint.min() > self.single.max())
        return bool(self.joint.max() < self.single.min())


def matching_tasks(single: Scores, joint: Scores) -> tuple[str, ...]:
    """Task names of both sides, in the order of the single-task side."""
    if not single:
        raise TaskError("transfer_report: found no tasks, expected scores as {task: {seed: score}}")
    for here, there, side in ((single, joint, "joint"), (joint, single, "single")):
        for name in here:
            if name not in there:
                raise TaskError(
                    f"transfer_report: task {name!r} has no {side} scores.{nearest(name, there)} "
                    "Give both sides the same tasks."
                )
    return tuple(single)


def direction(lower_is_better: bool | Mapping[str, bool], name: str) -> bool:
    """Direction of the score of a task."""
    if isinstance(lower_is_better, Mapping):
        if name not in lower_is_better:
            raise TaskError(f"transfer_report: lower_is_better has no entry for task {name!r}; give one per task")
        return bool(lower_is_better[name])
    return bool(lower_is_better)


def collect_runs(
    name: str, single: Mapping[int, float], joint: Mapping[int, float], *, lower: bool, is_paired: bool, drop: bool
) -> Runs:
    """Scores of one task, sorted by seed, checked, without the pairs (or runs) that are to be dropped."""
    if not single or not joint:
        raise DataError(f"task {name!r}: found no {'joint' if single else 'single'} scores; expected one per seed")
    if is_paired and set(single) != set(joint):
        raise DataError(
            f"task {name!r}: found single-task seeds {sorted(single)} and joint seeds {sorted(joint)}; paired runs "
            "need the same seeds on both sides. Run the missing ones, or use paired=False for independent runs."
        )
    broken = {
        side: [seed for seed in sorted(scores) if not math.isfinite(scores[seed])]
        for side, scores in (("single", single), ("joint", joint))
    }
    for side, seeds in broken.items():
        if seeds and not drop:
            score = (single if side == "single" else joint)[seeds[0]]
            raise DataError(
                f"task {name!r}: the {side} score of seed {seeds[0]} is {score}; expected a finite number. Find out "
                "why the run failed, or leave such seeds out with nan_policy='drop_pair'."
            )
    both = set(broken["single"]) | set(broken["joint"])
    single_seeds = tuple(seed for seed in sorted(single) if seed not in (both if is_paired else broken["single"]))
    joint_seeds = tuple(seed for seed in sorted(joint) if seed not in (both if is_paired else broken["joint"]))
    return Runs(
        task=name,
        lower_is_better=lower,
        single_seeds=single_seeds,
        joint_seeds=joint_seeds,
        single=np.array([float(single[seed]) for seed in single_seeds]),
        joint=np.array([float(joint[seed]) for seed in joint_seeds]),
        n_dropped=len(both) if is_paired else len(broken["single"]) + len(broken["joint"]),
        is_paired=is_paired,
    )


def mean_or_nan(values: np.ndarray) -> float:
    """Mean, or NaN of nothing (numpy would warn)."""
    return float(values.mean()) if len(values) else math.nan
