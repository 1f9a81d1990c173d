"""Delta_m: how much better several tasks are done together than apart, in one number of percent.

    Delta_t = 1/m_t sum_j o_tj (M_tj - B_tj) / |B_tj|,     Delta_m = 100/K sum_t Delta_t

with scores ``M``, single-task scores ``B`` and ``o`` = +1 where higher is better, -1 where lower is better. Two
conventions are in circulation. Here positive means that multi-task is better, as in the paper; work since Nash-MTL
prints the opposite sign (a drop) and averages flat over all metrics. The sign is printed beside every figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from taskloom.errors import DataError, TaskError, nearest
from taskloom.metrics.base import relative_gain

__all__ = ["DeltaM", "DeltaMResult", "delta_m"]

Convention = Literal["gain", "drop"]
TaskScores = Mapping[str, float | Mapping[str, float]]
Directions = bool | Mapping[str, bool | Mapping[str, bool]]

_MEANING: Mapping[Convention, str] = {
    "gain": "positive: multi-task is better",
    "drop": "drop, negative: multi-task is better",
}
_ONLY = "score"  # name of the metric of a task that has a single unnamed one


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaMResult:
    """Delta_m with its parts and its sign convention. ``float(result)`` is the number, ``str(result)`` the sentence.

    Args:
        value: Delta_m in percent; NaN if a score is NaN.
        convention: ``"gain"`` (positive: multi-task is better) or ``"drop"`` (the opposite sign).
        is_per_task_first: True if metrics were averaged inside each task first.
        tasks: figure of each task in percent, in the same convention.
        metrics: figure of each metric of each task in percent, in the same convention.
        notes: which scores are NaN, if any.

    Example:
        >>> print(delta_m({"depth": 0.36}, {"depth": 0.40}, lower_is_better=True))
        Delta_m = +10.00% (positive: multi-task is better)
    """

    value: float
    convention: Convention
    is_per_task_first: bool
    tasks: Mapping[str, float]
    metrics: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        flat = "" if self.is_per_task_first else "; flat mean over all metrics"
        notes = "".join(f" {note}" for note in self.notes)
        return f"Delta_m = {self.value:+.2f}% ({_MEANING[self.convention]}{flat}){notes}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaM:
    """Delta_m against a fixed set of single-task scores, which remembers what they were measured on.

    Args:
        reference: single-task scores, task -> score or task -> metric -> score.
        lower_is_better: direction: one for all, per task, or per task and metric.
        fingerprint: fingerprint of the data (and split) of the reference; "" if unknown.
        seeds: seeds whose mean the reference is.
        spread: standard deviation of the reference over seeds, in the same form; empty if unknown.

    Raises:
        DataError: a call with scores of other data, a single-task score of 0, a score on the other side of 0.
        TaskError: a task or metric is missing on one side.

    Example:
        >>> reference = DeltaM(reference={"depth": 0.40}, lower_is_better=True, fingerprint="a1b2")
        >>> float(reference({"depth": 0.36}, fingerprint="a1b2"))
        10.0000
    """

    reference: TaskScores
    lower_is_better: Directions
    fingerprint: str = ""
    seeds: tuple[int, ...] = ()
    spread: TaskScores = field(default_factory=dict)

    @classmethod
    def from_seeds(
        cls, scores: Mapping[str, Mapping[int, float]], *, lower_is_better: Directions, fingerprint: str = ""
    ) -> DeltaM:
        """Reference from single-task scores of several seeds, task -> seed -> score: means and standard deviations.

        Example:
            >>> DeltaM.from_seeds({"depth": {0: 0.3, 1: 0.5}}, lower_is_better=True).reference
            {'depth': 0.4}
        """
        values = {task: np.array([float(score) for score in by_seed.values()]) for task, by_seed in scores.items()}
        return cls(
            reference={task: float(column.mean()) for task, column in values.items()},
            lower_is_better=lower_is_better,
            fingerprint=fingerprint,
            seeds=tuple(sorted({seed for by_seed in scores.values() for seed in by_seed})),
            spread={task: float(column.std(ddof=1)) for task, column in values.items() if len(column) > 1},
        )

    def __call__(
        self,
        scores: TaskScores,
        *,
        fingerprint: str = "",
        per_task_first: bool = True,
        convention: Convention = "gain",
    ) -> DeltaMResult:
        """Delta_m of multi-task scores; arguments as in :func:`delta_m`."""
        if self.fingerprint and fingerprint and fingerprint != self.fingerprint:
            raise DataError(
                f"DeltaM: the scores were measured on data {fingerprint!r}, the single-task reference on data "
                f"{self.fingerprint!r}; expected the same data and split. Run the single tasks on these data."
            )
        return delta_m(
            scores,
            self.reference,
            lower_is_better=self.lower_is_better,
            per_task_first=per_task_first,
            convention=convention,
        )


def delta_m(
    scores: TaskScores,
    reference: TaskScores,
    *,
    lower_is_better: Directions,
    per_task_first: bool = True,
    convention: Convention = "gain",
) -> DeltaMResult:
    """Mean relative improvement of multi-task scores over single-task scores, in percent.

    Positive means that multi-task is better. A task with several metrics counts once: its metrics are averaged first.

    Args:
        scores: multi-task scores, task -> score or task -> metric -> score.
        reference: single-task scores in the same form; results of single-task training, not of the first epoch.
        lower_is_better: direction: one for all, per task, or per task and metric.
        per_task_first: True (default, the paper): average the metrics of a task, then tasks. False: flat mean over all
            metrics, in which a task with five metrics counts five times.
        convention: ``"gain"`` (default, the paper) or ``"drop"``, the opposite sign, for comparing with printed tables
            since Nash-MTL (which are flat as well).

    Returns:
        the figure, its parts, and its sign in words.

    Raises:
        TaskError: a task or metric is missing on one side, or has no direction.
        DataError: a single-task score is 0, or the two scores lie on different sides of 0; both leave no relative
            improvement.

    Differs from the paper:
        divides by the size of the single-task score, so that the sign stays right for scores that are negative on both
        sides (log likelihoods); equal for positive scores.

    Source:
        Maninis, Radosavovic and Kokkinos, Attentive Single-Tasking of Multiple Tasks, CVPR 2019, arXiv 1904.08918.

    Example:
        >>> single, multi = {"seg": 0.54, "depth": 0.39, "acc": 0.71}, {"seg": 0.52, "depth": 0.36, "acc": 0.73}
        >>> print(delta_m(multi, single, lower_is_better={"seg": False, "depth": True, "acc": False}))
        Delta_m = +2.27% (positive: multi-task is better)
    """
    if convention not in _MEANING:
        known = tuple(_MEANING)
        raise DataError(f"delta_m: found convention = {convention!r}; expected one of {', '.join(known)}")
    _same_names("task", scores, reference)
    sign = 1.0 if convention == "gain" else -1.0
    notes: list[str] = []
    metrics: dict[str, dict[str, float]] = {}
    for task, task_reference in reference.items():
        ours, theirs = _named(scores[task]), _named(task_reference)
        _same_names(f"task {task!r}: metric", ours, theirs)
        metrics[task] = {}
        for metric, single in theirs.items():
            label = f"task {task!r}" if theirs.keys() == {_ONLY} else f"task {task!r}, metric {metric!r}"
            gain = _gain(label, ours[metric], single, lower=_direction(lower_is_better, task, metric))
            if math.isnan(gain):
                notes.append(f"{label} is NaN.")
            metrics[task][metric] = sign * gain
    tasks = {task: float(np.mean(list(gains.values()))) for task, gains in metrics.items()}
    parts = list(tasks.values()) if per_task_first else [gain for gains in metrics.values() for gain in gains.values()]
    return DeltaMResult(
        value=float(np.mean(parts)),
        convention=convention,
        is_per_task_first=per_task_first,
        tasks=tasks,
        metrics=metrics,
        notes=tuple(notes),
    )


def _gain(label: str, score: float, single: float, *, lower: bool) -> float:
    """Relative gain of one metric in percent, or an error that names it."""
    if math.isfinite(single) and abs(single) < 1e-12:
        raise DataError(
            f"delta_m: the single-task score of {label} is {single:g}; expected a score away from 0, because Delta_m "
            "divides by it. Use another metric for this task."
        )
    if score * single < 0.0:
        raise DataError(
            f"delta_m: {label} scores {score:g} with multi-task and {single:g} alone, on different sides of 0; "
            "expected the same sign, because a relative change across 0 means nothing. Use another metric of this task."
        )
    return relative_gain(score, single, lower_is_better=lower) if math.isfinite(single) else math.nan


def _named(scores: float | Mapping[str, float]) -> Mapping[str, float]:
    """Scores of one task by metric."""
    return scores if isinstance(scores, Mapping) else {_ONLY: float(scores)}


def _direction(lower_is_better: Directions, task: str, metric: str) -> bool:
    """Whether lower is better for a metric of a task."""
    found: bool | Mapping[str, bool] | None
    found = lower_is_better.get(task) if isinstance(lower_is_better, Mapping) else lower_is_better
    if isinstance(found, Mapping):
        found = found.get(metric)
    if found is None:
        raise TaskError(
            f"delta_m: lower_is_better has no entry for task {task!r}, metric {metric!r}; give True or False for it"
        )
    return bool(found)


def _same_names(what: str, scores: Mapping[str, object], reference: Mapping[str, object]) -> None:
    """Both sides must have the same names."""
    if not reference:
        raise TaskError(f"delta_m: found no {what} in the single-task reference; expected at least one")
    for here, there, side in ((reference, scores, "multi-task"), (scores, reference, "single-task")):
        for name in here:
            if name not in there:
                raise TaskError(
                    f"delta_m: {what} {name!r} has no {side} score.{nearest(name, there)} "
                    "Give both sides the same names."
                )
