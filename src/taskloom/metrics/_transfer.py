"""What a comparison of learning together with learning apart says: plain data, and its words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from taskloom.errors import TaskError, nearest
from taskloom.metrics.statistics.bootstrap import BootstrapInterval

__all__ = ["Flag", "GainSummary", "TaskGain", "TransferReport", "Verdict"]

Verdict = Literal["better", "worse", "equivalent", "inconclusive"]
Flag = Literal["negative transfer", "suspected"]


@dataclass(frozen=True, kw_only=True, slots=True)
class GainSummary:
    """Gains over seeds with everything that a few seeds can say about them. Positive is better.

    Args:
        n: number of gains: seeds with both runs, or runs of the joint side if unpaired.
        seeds: seed of every gain.
        gains: gain of every seed, in percent (or in units of the metric for absolute gains).
        mean: mean gain.
        sd: standard deviation of the gains (n - 1); NaN for one seed.
        interval: 95% interval of the mean gain by Student's t (Welch's if unpaired); NaN for one seed.
        p: p value that verdicts use: ``sign_flip_p`` if paired, the permutation test if not; NaN for one seed.
        test: name of that test.
        sign_flip_p: exact sign-flip p value (two-sided); NaN if unpaired or for one seed.
        wilcoxon_p: exact signed-rank p value (two-sided); NaN if unpaired or for one seed.
        n_zeros: gains equal to 0, which the signed-rank test drops.
        t_p: p value of the paired t test; NaN if unpaired or for one seed.
        bootstrap: percentile interval over seeds and its label ("descriptive" below ten seeds); None if unpaired.

    Example:
        >>> from taskloom.metrics import transfer_report
        >>> report = transfer_report({"a": {0: 1.0, 1: 1.0}}, {"a": {0: 0.9, 1: 0.8}}, lower_is_better=True)
        >>> report.mean_gain.n, round(report.mean_gain.mean, 1)
        (2, 15.0)
    """

    n: int
    seeds: tuple[int, ...]
    gains: tuple[float, ...]
    mean: float
    sd: float
    interval: tuple[float, float]
    p: float
    test: str
    sign_flip_p: float
    wilcoxon_p: float
    n_zeros: int
    t_p: float
    bootstrap: BootstrapInterval | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskGain(GainSummary):
    """Gain of one task, and the verdict on it.

    Args:
        task: name of the task.
        single_mean: mean score learned apart.
        joint_mean: mean score learned together.
        lower_is_better: direction of the score.
        corrected_p: ``p`` corrected for the number of tasks.
        verdict: ``"worse"`` (interval below 0 and corrected p <= alpha), ``"better"`` (the same above 0),
            ``"equivalent"`` (interval inside the margin), else ``"inconclusive"``.
        flag: ``"negative transfer"`` for the verdict worse; ``"suspected"`` when the mean is below the margin and all
            seeds agree, but there are too few seeds to test; else None.
        note: what a reader must know, for example "not testable with 5 seeds: use 8"; empty if nothing.

    Example:
        >>> from taskloom.metrics import transfer_report
        >>> single = {"a": {seed: 1.0 for seed in range(8)}}
        >>> joint = {"a": {seed: 1.1 + 0.01 * seed for seed in range(8)}}
        >>> gain = transfer_report(single, joint, lower_is_better=True).tasks[0]
        >>> gain.verdict, gain.flag
        ('worse', 'negative transfer')
    """

    task: str
    single_mean: float
    joint_mean: float
    lower_is_better: bool
    corrected_p: float
    verdict: Verdict
    flag: Flag | None
    note: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferReport:
    """Gains of every task, Delta_m, the gain on average, and the settings they depend on.

    Args:
        tasks: one entry per task, in the order given.
        delta_m: Delta_m of the mean scores in percent, positive = together is better; NaN where undefined (see notes).
        mean_gain: seed-wise gain averaged over tasks; one test, not corrected. None if the tasks share no seeds.
        alpha: level of the tests.
        margin: gains within this distance of 0 count as equivalent; in the unit of the gains (percent for relative).
        is_relative: whether gains are in percent.
        denominator: what relative gains are divided by.
        baseline: what the single-task side was: same size, same total cost, or best tuned.
        correction: correction for several tasks.
        is_paired: whether runs were paired by seed.
        seeds_needed: seeds with which these tests can find anything.
        notes: what a reader must know about the whole.

    Example:
        >>> from taskloom.metrics import transfer_report
        >>> report = transfer_report({"a": {0: 1.0, 1: 1.0}}, {"a": {0: 0.9, 1: 0.8}}, lower_is_better=True)
        >>> report["a"].note, report.seeds_needed
        ('not testable with 2 seeds: use 6', 6)
    """

    tasks: tuple[TaskGain, ...]
    delta_m: float
    mean_gain: GainSummary | None
    alpha: float
    margin: float
    is_relative: bool
    denominator: str
    baseline: str
    correction: str
    is_paired: bool
    seeds_needed: int
    notes: tuple[str, ...]

    def __getitem__(self, task: str) -> TaskGain:
        """Gain of a task by its name.

        Raises:
            TaskError: the report has no such task.
        """
        for gain in self.tasks:
            if gain.task == task:
                return gain
        raise TaskError(f"the report has no task {task!r}.{nearest(task, (gain.task for gain in self.tasks))}")

    def text(self) -> str:
        """The report in plain words, one paragraph of settings, one line per task, one line on average."""
        return "\n".join(_lines(self))

    def __str__(self) -> str:
        return self.text()


_BASELINES = {
    "same_size": "one network of the same size per task",
    "same_total_cost": "single networks that cost together as much as the joint one",
    "best_tuned": "the best tuned single-task networks",
}
_VERDICTS = {
    "better": "better together",
    "worse": "worse together (negative transfer)",
    "equivalent": "equivalent: the difference is within the margin",
    "inconclusive": "inconclusive",
}
_CORRECTIONS = {
    "holm": "corrected by Holm's method",
    "benjamini_hochberg": "corrected by Benjamini and Hochberg's method",
    "none": "not corrected",
}


def _lines(report: TransferReport) -> Iterator[str]:
    """Lines of :meth:`TransferReport.text`."""
    unit = "%" if report.is_relative else ""
    counts = sorted({gain.n for gain in report.tasks})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    yield (
        f"Learning {_plural(len(report.tasks), 'task')} together, compared with "
        f"{_BASELINES.get(report.baseline, report.baseline)}; {seeds} seed{'' if counts == [1] else 's'}, "
        f"{'paired' if report.is_paired else 'independent runs'}."
    )
    scale = f"in percent of the {report.denominator}-task score" if report.is_relative else "in units of each score"
    yield f"Gains are {scale}; a positive gain means that learning together is better."
    for gain in report.tasks:
        yield f"- {gain.task}: {_task_words(gain, unit)}"
    if report.mean_gain is not None and len(report.tasks) > 1:
        yield f"On average over the tasks: {_summary_words(report.mean_gain, unit)}."
    if math.isfinite(report.delta_m):
        yield f"Delta_m = {report.delta_m:+.2f}% (positive: together is better)."
    tests = ", ".join(sorted({gain.test for gain in report.tasks if gain.test})) or "no test"
    yield (
        f"Tests: {tests}, two-sided at {report.alpha:g}, {_CORRECTIONS[report.correction]}; "
        f"gains within {report.margin:g}{unit} of 0 count as equivalent."
    )
    yield from report.notes


def _task_words(gain: TaskGain, unit: str) -> str:
    """Verdict, figures and remarks of one task."""
    verdict = _VERDICTS[gain.verdict]
    if gain.flag == "suspected":
        verdict += ", negative transfer suspected"
    figures = _summary_words(gain, unit)
    corrected = f", corrected {gain.corrected_p:.3g}" if math.isfinite(gain.corrected_p) else ""
    every = ", ".join(f"{value:+.3g}" for value in gain.gains)
    note = f" {gain.note[0].upper()}{gain.note[1:]}." if gain.note else ""
    return f"{verdict}. Gain {figures}{corrected}; every seed: {every or 'none'}.{note}"


def _summary_words(gain: GainSummary, unit: str) -> str:
    """Mean, interval, spread, n and p value of a summary."""
    if gain.n == 0:
        return "unknown (no seed with both runs)"
    if not math.isfinite(gain.interval[0]):
        return f"{gain.mean:+.2f}{unit} (one seed: no interval, no test)"
    low, high = gain.interval
    return (
        f"{gain.mean:+.2f}{unit} (95% interval {low:+.2f} to {high:+.2f}, SD {gain.sd:.2f}, n = {gain.n}), "
        f"p = {gain.p:.3g}"
    )


def _plural(count: int, noun: str) -> str:
    """Count and noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
