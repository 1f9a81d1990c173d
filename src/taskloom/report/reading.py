"""What the report shows, read from a ``Results`` object once and in one place.

The page, its figures and the terminal tables all start from a :class:`Reading`, so that they cannot disagree: the same
verdict, the same number, the same order everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskloom.study.results import Results

__all__ = ["CandidateRow", "DiagnosticRow", "GainRow", "Reading", "TaskColumn", "finite", "read"]


@dataclass(frozen=True, slots=True)
class TaskColumn:
    """A task as the report names it."""

    name: str
    kind: str
    metric: str
    lower_is_better: bool
    auxiliary: bool


@dataclass(frozen=True, slots=True)
class GainRow:
    """Gain of one task under one candidate, in percent of the single-task score; positive = multi-task better."""

    task: str
    n: int
    mean: float | None
    low: float | None
    high: float | None
    corrected_p: float | None
    verdict: str
    flag: str | None
    note: str
    seeds: tuple[float | None, ...]  # in the order of Reading.seeds


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate of the comparison with what it reached and what it cost."""

    name: str
    title: str
    family: str
    summary: str
    source: str
    delta_m: float | None
    low: float | None
    high: float | None
    seeds: tuple[float | None, ...]
    scores: tuple[float | None, ...]  # mean test score per task, in the order of Reading.tasks
    parameters: float | None
    train_seconds: float | None
    predict_microseconds: float | None


@dataclass(frozen=True, slots=True)
class DiagnosticRow:
    """Rates, checkpoint and conflict of one task under one candidate."""

    task: str
    best_epoch: float | None
    checkpoint_regret: float | None
    rate_mismatch: bool | float | None
    conflict_share: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything the report shows, except the long frames that only the figures need."""

    title: str
    answer: str
    tasks: tuple[TaskColumn, ...]
    seeds: tuple[int, ...]
    candidates: tuple[CandidateRow, ...]  # best Delta_m first
    reference: str
    best: str
    focus: str  # the candidate that the verdicts are shown for first
    gains: Mapping[str, tuple[GainRow, ...]]  # candidate -> rows in the order of `tasks`; without the reference
    notes: tuple[str, ...]  # what must be known about the verdicts of the candidate in focus
    diagnostics: Mapping[str, tuple[DiagnosticRow, ...]]

    def candidate(self, name: str) -> CandidateRow:
        """The row of a candidate."""
        return next(row for row in self.candidates if row.name == name)


def finite(value: Any) -> float | None:
    """A number as float, or None when it is missing, NaN or infinite.

    Example:
        >>> finite(2), finite(float("nan")), finite(None)
        (2.0, None, None)
    """
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def read(results: Results) -> Reading:
    """Read what the report shows.

    Args:
        results: the results of a comparison.

    Returns:
        the reading; candidates ordered by Delta_m, best first, those without one last.
    """
    settings = results.settings
    seeds = tuple(int(seed) for seed in settings["seeds"])
    tasks = tuple(_task(task) for task in settings["tasks"])
    reference = str(settings["reference"])
    gains = _gains(results, tasks, seeds, reference)
    candidates = _candidates(results, tasks, seeds, gains, reference)
    best = str(results.best().candidate)
    focus = _focus(best, candidates, gains)
    return Reading(
        title=str(settings.get("title") or "Comparison"),
        answer=results.answer(),
        tasks=tasks,
        seeds=seeds,
        candidates=candidates,
        reference=reference,
        best=best,
        focus=focus,
        gains=gains,
        notes=tuple(results.gains(focus).notes) if focus in gains else (),
        diagnostics={
            row.name: tuple(_diagnostic(line) for line in results.diagnostics(row.name).iter_rows(named=True))
            for row in candidates
        },
    )


def _task(entry: Mapping[str, Any]) -> TaskColumn:
    metrics = {str(metric["name"]): bool(metric["lower_is_better"]) for metric in entry.get("metrics", ())}
    metric = str(entry["metric"])
    return TaskColumn(
        name=str(entry["name"]),
        kind=str(entry["kind"]),
        metric=metric,
        lower_is_better=metrics.get(metric, True),
        auxiliary=bool(entry.get("auxiliary", False)),
    )


def _gains(
    results: Results, tasks: Sequence[TaskColumn], seeds: Sequence[int], reference: str
) -> dict[str, tuple[GainRow, ...]]:
    lines: dict[str, dict[str, Mapping[str, Any]]] = {}
    for line in results.verdicts().iter_rows(named=True):
        lines.setdefault(line["candidate"], {})[line["task"]] = line
    gains = {}
    for candidate, by_task in lines.items():
        if candidate == reference:
            continue
        per_seed = {gain.task: dict(zip(gain.seeds, gain.gains)) for gain in results.gains(candidate).tasks}
        gains[candidate] = tuple(
            _gain(by_task[task.name], [per_seed.get(task.name, {}).get(seed) for seed in seeds])
            for task in tasks
            if task.name in by_task
        )
    return gains


def _gain(line: Mapping[str, Any], seeds: Sequence[float | None]) -> GainRow:
    return GainRow(
        task=line["task"],
        n=int(line["n"]),
        mean=finite(line["mean_gain"]),
        low=finite(line["low"]),
        high=finite(line["high"]),
        corrected_p=finite(line["corrected_p"]),
        verdict=line["verdict"],
        flag=line["flag"] or None,
        note=line["note"] or "",
        seeds=tuple(finite(value) for value in seeds),
    )


def _candidates(
    results: Results,
    tasks: Sequence[TaskColumn],
    seeds: Sequence[int],
    gains: Mapping[str, tuple[GainRow, ...]],
    reference: str,
) -> tuple[CandidateRow, ...]:
    described = {entry["name"]: entry for entry in results.settings["candidates"]}
    rows = []
    for line in results.table().iter_rows(named=True):
        name = line["candidate"]
        entry = described.get(name, {})
        low, high, per_seed = _mean_gain(results, name, seeds) if name in gains else (None, None, ())
        rows.append(
            CandidateRow(
                name=name,
                title=line["title"],
                family=line["family"],
                summary=entry.get("summary") or "",
                source=entry.get("source") or "",
                delta_m=0.0 if name == reference else finite(line["delta_m"]),
                low=low,
                high=high,
                seeds=per_seed,
                scores=tuple(finite(line.get(task.name)) for task in tasks),
                parameters=finite(line["parameters"]),
                train_seconds=finite(line["train_seconds"]),
                predict_microseconds=finite(line["predict_microseconds"]),
            )
        )
    rows.sort(key=lambda row: (row.delta_m is None, -(row.delta_m or 0.0)))
    return tuple(rows)


def _mean_gain(
    results: Results, candidate: str, seeds: Sequence[int]
) -> tuple[float | None, float | None, tuple[float | None, ...]]:
    mean = results.gains(candidate).mean_gain
    if mean is None:
        return None, None, ()
    low, high = mean.interval
    per_seed = dict(zip(mean.seeds, mean.gains))
    return finite(low), finite(high), tuple(finite(per_seed.get(seed)) for seed in seeds)


def _focus(best: str, candidates: Sequence[CandidateRow], gains: Mapping[str, tuple[GainRow, ...]]) -> str:
    if best in gains:
        return best
    # Single-task networks won: the question is then how the best way of learning together falls short of them.
    together = [row.name for row in candidates if row.name in gains and row.family not in ("single", "baseline")]
    others = [row.name for row in candidates if row.name in gains]
    return (together or others or [best])[0]


def _diagnostic(line: Mapping[str, Any]) -> DiagnosticRow:
    mismatch = line["rate_mismatch"]
    return DiagnosticRow(
        task=line["task"],
        best_epoch=finite(line["best_epoch"]),
        checkpoint_regret=finite(line["checkpoint_regret"]),
        rate_mismatch=mismatch if isinstance(mismatch, bool) else finite(mismatch),
        conflict_share=finite(line["conflict_share"]),
    )
