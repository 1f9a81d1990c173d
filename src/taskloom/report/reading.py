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
    from taskloom.metrics import GainSummary, TaskGain, TransferReport
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
    """Gain of one task under one candidate; positive = multi-task better."""

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
    validation_score: float | None  # chose the settings and the best candidate; lower is better
    delta_m: float | None
    low: float | None
    high: float | None
    seeds: tuple[float | None, ...]
    scores: tuple[float | None, ...]  # mean test score per task, in the order of Reading.tasks
    parameters: float | None
    train_seconds: float | None
    predict_microseconds: float | None
    step_milliseconds: float | None = None  # None for what takes no optimiser steps
    step_ratio: float | None = None  # of a step to one of hard sharing with equal weights


_PLAIN = "hard_sharing"  # equal weights: what the time of a step is compared with


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
    best: str  # best validation score of all candidates
    focus: str  # best validation score of those that learn together: the one that the answer and verdicts are about
    is_relative: bool  # gains are in percent of the single-task score, else in units of the score
    margin: float  # gains within this distance of 0 do not matter; in the unit of the gains
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
    reports = _reports(results, reference)
    gains = {name: _gains(report, tasks, seeds) for name, report in reports.items()}
    candidates = _candidates(results, tasks, seeds, reports, reference)
    best = str(results.best().candidate)
    focus = _focus(results, candidates, gains)
    margin = float(settings["margin"])
    return Reading(
        title=_capital(str(settings.get("title") or "comparison")),
        answer=results.answer(),
        tasks=tasks,
        seeds=seeds,
        candidates=candidates,
        reference=reference,
        best=best,
        focus=focus,
        is_relative=reports[focus].is_relative if focus in reports else True,
        margin=reports[focus].margin if focus in reports else 100.0 * margin,
        gains=gains,
        notes=reports[focus].notes if focus in reports else (),
        diagnostics={
            row.name: tuple(_diagnostic(line) for line in results.diagnostics(row.name).iter_rows(named=True))
            for row in candidates
        },
    )


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


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


def _reports(results: Results, reference: str) -> dict[str, TransferReport]:
    """The comparison of each candidate that has one, made once."""
    compared = dict.fromkeys(results.verdicts()["candidate"].to_list())
    return {name: results.gains(name) for name in compared if name != reference}


def _gains(report: TransferReport, tasks: Sequence[TaskColumn], seeds: Sequence[int]) -> tuple[GainRow, ...]:
    found = {gain.task: gain for gain in report.tasks}
    return tuple(_gain(found[task.name], seeds) for task in tasks if task.name in found)


def _gain(gain: TaskGain, seeds: Sequence[int]) -> GainRow:
    low, high = gain.interval
    return GainRow(
        task=gain.task,
        n=gain.n,
        mean=finite(gain.mean),
        low=finite(low),
        high=finite(high),
        corrected_p=finite(gain.corrected_p),
        verdict=gain.verdict,
        flag=gain.flag,
        note=gain.note,
        seeds=_per_seed(gain, seeds),
    )


def _ratio(milliseconds: float | None, plain: float | None) -> float | None:
    own, other = finite(milliseconds), finite(plain)
    return own / other if own is not None and other else None


def _per_seed(gain: GainSummary, seeds: Sequence[int]) -> tuple[float | None, ...]:
    found = dict(zip(gain.seeds, gain.gains))
    return tuple(finite(found.get(seed)) for seed in seeds)


def _candidates(
    results: Results,
    tasks: Sequence[TaskColumn],
    seeds: Sequence[int],
    reports: Mapping[str, TransferReport],
    reference: str,
) -> tuple[CandidateRow, ...]:
    described = {entry["name"]: entry for entry in results.settings["candidates"]}
    rows = []
    table = list(results.table().iter_rows(named=True))
    plain = next((line["step_milliseconds"] for line in table if line["candidate"] == _PLAIN), None)
    for line in table:
        name = line["candidate"]
        entry = described.get(name, {})
        report = reports.get(name)
        scores = results.mean_scores(name)
        # Δm is in percent, and so must be the interval that stands beside it
        mean = report.mean_gain if report is not None and report.is_relative else None
        low, high = mean.interval if mean is not None else (None, None)
        rows.append(
            CandidateRow(
                name=name,
                title=_capital(line["title"]),
                family=line["family"],
                summary=entry.get("summary") or "",
                source=entry.get("source") or "",
                validation_score=finite(line["validation_score"]),
                delta_m=0.0 if name == reference else finite(line["delta_m"]),
                low=finite(low),
                high=finite(high),
                seeds=_per_seed(mean, seeds) if mean is not None else (),
                scores=tuple(finite(scores.get(task.name)) for task in tasks),
                parameters=finite(line["parameters"]),
                train_seconds=finite(line["train_seconds"]),
                predict_microseconds=finite(line["predict_microseconds"]),
                step_milliseconds=finite(line["step_milliseconds"]),
                step_ratio=_ratio(line["step_milliseconds"], plain),
            )
        )
    rows.sort(key=lambda row: (row.delta_m is None, -(row.delta_m or 0.0)))
    return tuple(rows)


def _focus(results: Results, candidates: Sequence[CandidateRow], gains: Mapping[str, tuple[GainRow, ...]]) -> str:
    if any(row.family in ("joint", "pooled") for row in candidates):
        return str(results.best("together").candidate)
    compared = [row.name for row in candidates if row.name in gains]
    return compared[0] if compared else str(results.best().candidate)


def _diagnostic(line: Mapping[str, Any]) -> DiagnosticRow:
    mismatch = line["rate_mismatch"]
    return DiagnosticRow(
        task=line["task"],
        best_epoch=finite(line["best_epoch"]),
        checkpoint_regret=finite(line["checkpoint_regret"]),
        rate_mismatch=mismatch if isinstance(mismatch, bool) else finite(mismatch),
        conflict_share=finite(line["conflict_share"]),
    )
