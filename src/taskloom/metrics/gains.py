"""Is a task better off learned together? Gains per task over seeds, tested exactly, with a verdict each.

    g[t,s] = 100 (L1[t,s] - L2[t,s]) / |L1[t,s]|

``L1`` learned apart, ``L2`` learned together, at seed s; signs are turned for scores where higher is better, so that
positive always means that learning together is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Literal, get_args

import numpy as np

from taskloom.errors import DataError, nearest
from taskloom.metrics._runs import Denominator, Runs, Scores, collect_runs, direction, matching_tasks, mean_or_nan
from taskloom.metrics._transfer import Flag, GainSummary, TaskGain, TransferReport, Verdict
from taskloom.metrics.base import relative_gain
from taskloom.metrics.statistics.bootstrap import bootstrap_interval
from taskloom.metrics.statistics.multiplicity import benjamini_hochberg, holm, seeds_needed
from taskloom.metrics.statistics.paired import (
    LARGEST_ENUMERATION,
    sign_flip_test,
    smallest_p,
    t_interval,
    t_test,
    wilcoxon_test,
)
from taskloom.metrics.statistics.unpaired import permutation_test, smallest_p_unpaired, welch_interval

__all__ = ["transfer_report"]

Correction = Literal["holm", "benjamini_hochberg", "none"]
Baseline = Literal["same_size", "same_total_cost", "best_tuned"]
NanPolicy = Literal["raise", "drop_pair"]

_CORRECTIONS: Mapping[Correction, Callable[[np.ndarray], np.ndarray]] = {
    "holm": holm,
    "benjamini_hochberg": benjamini_hochberg,
    "none": lambda p_values: p_values,
}


def transfer_report(
    single: Scores,
    joint: Scores,
    *,
    lower_is_better: bool | Mapping[str, bool],
    paired: bool = True,
    alpha: float = 0.05,
    margin: float = 0.01,
    correction: Correction = "holm",
    denominator: Denominator = "single",
    baseline: Baseline = "best_tuned",
    nan_policy: NanPolicy = "raise",
    generator: np.random.Generator | None = None,
) -> TransferReport:
    """Compare learning tasks together with learning them apart, task by task, over seeds.

    Says of every task *better*, *worse* (negative transfer), *equivalent* or *inconclusive*, and where there are too
    few seeds to say anything, how many it takes. The verdict rests on two things that must agree: the 95% t interval of
    the mean gain, and an exact permutation test that assumes nothing about the distribution, corrected for the number
    of tasks.

    Args:
        single: scores learned apart, task -> seed -> score on the test rows.
        joint: scores learned together, in the same form.
        lower_is_better: direction of the scores, one for all or one per task.
        paired: True (default): both sides ran the same seeds (same split, same order of data) and are compared seed by
            seed. False: independent runs, compared by groups.
        alpha: level of the two-sided tests; default 0.05.
        margin: share of the reference within which a gain counts as equivalent; default 0.01, one percent. For
            absolute gains it is in units of the score.
        correction: for several tasks, ``"holm"`` (default), ``"benjamini_hochberg"`` or ``"none"``.
        denominator: ``"single"`` (default): gains in percent of the single-task score; ``"joint"``: of the joint score,
            only to reproduce old tables; ``"absolute"``: plain differences.
        baseline: what the single-task side is, kept in the report: ``"best_tuned"`` (default), ``"same_size"``,
            ``"same_total_cost"``.
        nan_policy: ``"raise"`` (default) on a score that is not finite; ``"drop_pair"`` leaves such seeds out of their
            task and counts them in the note.
        generator: random numbers for the Monte-Carlo tests and bootstraps that more seeds need; default fixed streams.

    Returns:
        the report; ``.text()`` says it in words.

    Raises:
        TaskError: the two sides have different tasks.
        DataError: seeds do not match, a score is not finite, a relative gain of a score of 0 is asked for, or a setting
            is out of range. The message names the task.

    Source:
        Maninis, Radosavovic and Kokkinos, Attentive Single-Tasking of Multiple Tasks, CVPR 2019 (Delta_m); tests and
        corrections as cited in :mod:`taskloom.metrics.statistics`.

    Example:
        >>> single = {"price": {seed: 1.0 + 0.01 * seed for seed in range(6)}}
        >>> joint = {"price": {seed: 0.9 + 0.01 * seed for seed in range(6)}}
        >>> gain = transfer_report(single, joint, lower_is_better=True)["price"]
        >>> gain.verdict, round(gain.mean, 2), gain.corrected_p
        ('better', 9.76, 0.03125)
    """
    _check_settings(alpha, margin, correction, denominator, baseline, nan_policy)
    names = matching_tasks(single, joint)
    lower = {name: direction(lower_is_better, name) for name in names}
    drop = nan_policy == "drop_pair"
    runs = [
        collect_runs(name, single[name], joint[name], lower=lower[name], is_paired=paired, drop=drop) for name in names
    ]
    summaries = [_task_summary(run, denominator, generator=generator) for run in runs]

    # The smallest p value that each task could reach, corrected as the p values are: above alpha, n is too small.
    floors = np.array([_floor(run) for run in runs])
    correct = _CORRECTIONS[correction]
    is_testable = correct(floors) <= alpha
    corrected = correct(np.array([summary.p for summary in summaries]))
    needed = seeds_needed(len(names) if correction == "holm" else 1, alpha, is_paired=paired)

    is_relative = denominator != "absolute"
    width = 100.0 * margin if is_relative else margin
    gains = []
    for run, summary, p, testable in zip(runs, summaries, corrected, is_testable, strict=True):
        verdict = _verdict(summary, float(p), alpha, width)
        flag: Flag | None = None
        if verdict == "worse":
            flag = "negative transfer"
        elif summary.n >= 2 and not testable and summary.mean < -width and run.all_worse(summary.gains):
            flag = "suspected"
        gains.append(
            TaskGain(
                **{field.name: getattr(summary, field.name) for field in fields(summary)},
                task=run.task,
                single_mean=mean_or_nan(run.single),
                joint_mean=mean_or_nan(run.joint),
                lower_is_better=run.lower_is_better,
                corrected_p=float(p),
                verdict=verdict,
                flag=flag,
                note=_note(run, summary, verdict, bool(testable), needed, width),
            )
        )
    delta, notes = _delta_m(runs)
    if len(names) > 1 and not is_testable.any():
        most = max(summary.n for summary in summaries)
        notes.append(
            f"With {most} seed{'' if most == 1 else 's'} and {len(names)} tasks no task can be called better or worse "
            f"at {alpha:g}: that takes {needed} seeds."
        )
    mean_gain = _mean_gain(runs, denominator, generator=generator)
    if mean_gain is None:
        notes.append("The tasks have no seed in common: there is no test of the mean gain.")
    elif len(names) > 1:
        notes.extend(_mean_gain_notes(mean_gain, runs, alpha))
    return TransferReport(
        tasks=tuple(gains),
        delta_m=delta,
        mean_gain=mean_gain,
        alpha=alpha,
        margin=width,
        is_relative=is_relative,
        denominator=denominator,
        baseline=baseline,
        correction=correction,
        is_paired=paired,
        seeds_needed=needed,
        notes=tuple(notes),
    )


def _check_settings(
    alpha: float, margin: float, correction: str, denominator: str, baseline: str, nan_policy: str
) -> None:
    """Refuse settings out of range, naming the argument."""
    if not 0.0 < alpha < 1.0:
        raise DataError(f"transfer_report: found alpha = {alpha!r}; expected a level between 0 and 1, such as 0.05")
    if not margin >= 0.0:
        raise DataError(f"transfer_report: found margin = {margin!r}; expected a share >= 0, such as 0.01")
    for argument, value, known in (
        ("correction", correction, get_args(Correction)),
        ("denominator", denominator, get_args(Denominator)),
        ("baseline", baseline, get_args(Baseline)),
        ("nan_policy", nan_policy, get_args(NanPolicy)),
    ):
        if value not in known:
            raise DataError(
                f"transfer_report: found {argument} = {value!r}; expected one of {', '.join(known)}."
                f"{nearest(value, known)}"
            )


def _task_summary(run: Runs, denominator: Denominator, *, generator: np.random.Generator | None) -> GainSummary:
    """Gains of a task and their statistics."""
    if len(run.single) == 0 or len(run.joint) == 0:
        return _summary((), np.zeros(0), None if run.is_paired else np.zeros(0), generator=generator)
    apart = None if run.is_paired else run.gains(denominator, run.single)
    return _summary(run.joint_seeds, run.gains(denominator), apart, generator=generator)


def _summary(
    seeds: tuple[int, ...], gains: np.ndarray, apart: np.ndarray | None, *, generator: np.random.Generator | None
) -> GainSummary:
    """Statistics of gains; ``apart``: those of the single runs (around 0) if unpaired, None if paired."""
    n = len(gains)
    is_testable = n >= 2 and (apart is None or len(apart) >= 2)
    is_paired_test = is_testable and apart is None
    sign_flip = sign_flip_test(gains, generator=generator) if is_paired_test else math.nan
    wilcoxon = wilcoxon_test(gains) if is_paired_test else None
    if apart is None:
        interval, p = t_interval(gains), sign_flip
        test = "exact sign-flip test" if n <= LARGEST_ENUMERATION else "sign-flip test (100,000 random patterns)"
    else:
        interval, test = welch_interval(gains, apart), "permutation test"
        p = permutation_test(gains, apart, generator=generator) if is_testable else math.nan
    return GainSummary(
        n=n,
        seeds=seeds,
        gains=tuple(float(gain) for gain in gains),
        mean=mean_or_nan(gains),
        sd=float(gains.std(ddof=1)) if n >= 2 else math.nan,
        interval=interval,
        p=p,
        test=test if is_testable else "",
        sign_flip_p=sign_flip,
        wilcoxon_p=wilcoxon.p if wilcoxon is not None else math.nan,
        n_zeros=int((gains == 0.0).sum()),
        t_p=t_test(gains) if is_paired_test else math.nan,
        bootstrap=bootstrap_interval(gains, generator=generator) if apart is None else None,
    )


def _floor(run: Runs) -> float:
    """Smallest p value that the test of a task can give; NaN where there is no test."""
    if min(len(run.single), len(run.joint)) < 2:
        return math.nan
    return smallest_p(len(run.joint)) if run.is_paired else smallest_p_unpaired(len(run.joint), len(run.single))


def _verdict(summary: GainSummary, corrected_p: float, alpha: float, width: float) -> Verdict:
    """What interval and test say together. Comparisons with NaN are False: no interval, no test, no claim."""
    low, high = summary.interval
    if high < 0.0 and corrected_p <= alpha:
        return "worse"
    if low > 0.0 and corrected_p <= alpha:
        return "better"
    if -width <= low and high <= width:
        return "equivalent"
    return "inconclusive"


def _note(run: Runs, summary: GainSummary, verdict: Verdict, is_testable: bool, needed: int, width: float) -> str:
    """What a reader of this task must know, as short sentences without capitals."""
    parts = []
    if min(len(run.single), len(run.joint)) == 0:
        parts.append(f"no seed with both runs: use {needed} seeds")
    elif min(len(run.single), len(run.joint)) == 1:
        parts.append(f"one seed: no interval and no test; use {needed} seeds")
    elif not is_testable:
        found = str(summary.n) if len(run.single) == len(run.joint) else f"{len(run.single)} and {summary.n}"
        parts.append(f"not testable with {found} seeds: use {needed}")
    if verdict in ("better", "worse") and abs(summary.mean) < width:
        parts.append("the gain is real but smaller than the margin")
    if run.n_dropped:
        what = "seed" if run.is_paired else "run"
        parts.append(f"{run.n_dropped} {what}{'s' * (run.n_dropped > 1)} left out: the score is not finite")
    if summary.n_zeros and summary.n >= 2:
        parts.append(f"{summary.n_zeros} of {summary.n} gains are exactly 0")
    return "; ".join(parts)


def _delta_m(runs: Sequence[Runs]) -> tuple[float, list[str]]:
    """Delta_m of the mean scores, or NaN with a note that says why it is undefined."""
    gains = []
    for run in runs:
        single, joint = mean_or_nan(run.single), mean_or_nan(run.joint)
        if not (math.isfinite(single) and math.isfinite(joint)) or abs(single) < 1e-12 or single * joint < 0.0:
            reason = (
                f"task {run.task!r} scores {single:g} apart and {joint:g} together, and a share of that has no meaning"
            )
            return math.nan, [f"Delta_m is undefined: {reason}."]
        gains.append(relative_gain(joint, single, lower_is_better=run.lower_is_better))
    return sum(gains) / len(gains), []


def _mean_gain(
    runs: Sequence[Runs], denominator: Denominator, *, generator: np.random.Generator | None
) -> GainSummary | None:
    """Seed-wise gain averaged over tasks, for the seeds that every task has: one question, one test."""
    seeds = tuple(seed for seed in runs[0].joint_seeds if all(seed in run.joint_seeds for run in runs))
    apart_seeds = tuple(seed for seed in runs[0].single_seeds if all(seed in run.single_seeds for run in runs))
    if not seeds or not apart_seeds:
        return None
    together = [run.gains(denominator)[[run.joint_seeds.index(seed) for seed in seeds]] for run in runs]
    if runs[0].is_paired:
        return _summary(seeds, np.mean(together, axis=0), None, generator=generator)
    apart = [run.gains(denominator, run.single)[[run.single_seeds.index(seed) for seed in apart_seeds]] for run in runs]
    return _summary(seeds, np.mean(together, axis=0), np.mean(apart, axis=0), generator=generator)


def _mean_gain_notes(mean_gain: GainSummary, runs: Sequence[Runs], alpha: float) -> list[str]:
    """What a reader must know about the test of the mean gain."""
    notes = []
    most = max(len(run.joint_seeds) for run in runs)
    if mean_gain.n < most:
        notes.append(f"The mean gain uses the {mean_gain.n} of {most} seeds that every task has.")
    is_paired = runs[0].is_paired
    apart = mean_gain.n if is_paired else min(len(run.single) for run in runs)
    floor = smallest_p(mean_gain.n) if is_paired else smallest_p_unpaired(mean_gain.n, apart)
    if not floor <= alpha:
        needed = seeds_needed(1, alpha, is_paired=is_paired)
        notes.append(f"The mean gain is not testable with {mean_gain.n} seeds: use {needed}.")
    return notes
