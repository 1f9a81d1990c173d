"""The answer of a comparison in two sentences of plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from taskloom.metrics import TransferReport

__all__ = ["answer_text"]

_NAMED = 3  # this many tasks are named, more are counted


def answer_text(
    report: TransferReport, *, title: str, overall: str, overall_is_together: bool, overall_is_reference: bool
) -> str:
    """Say whether learning together helped, and which candidate of all is best.

    Args:
        report: gains of the best way of learning together (chosen on validation rows) over single-task networks.
        title: its title.
        overall: title of the best candidate of all, by validation score.
        overall_is_together: whether that is the same candidate.
        overall_is_reference: whether that is the single-task networks.

    Returns:
        two sentences.

    Example:
        >>> from taskloom.metrics import transfer_report
        >>> single = {"price": {seed: 1.0 + 0.01 * seed for seed in range(8)}}
        >>> joint = {"price": {seed: 0.9 + 0.01 * seed for seed in range(8)}}
        >>> print(answer_text(transfer_report(single, joint, lower_is_better=True), title="hard sharing",
        ...     overall="hard sharing", overall_is_together=True, overall_is_reference=False))
        Yes: hard sharing is better than tuned single-task networks for the only task (mean gain +9.7 %, 95 % interval \
+9.5 to +9.9 %). It is also the best of all candidates on the validation rows.
    """
    return f"{_first(report, title)} {_second(overall, overall_is_together, overall_is_reference)}"


def _first(report: TransferReport, title: str) -> str:
    tasks = {
        verdict: [gain.task for gain in report.tasks if gain.verdict == verdict]
        for verdict in ("better", "worse", "equivalent")
    }
    n_tasks = len(report.tasks)
    better, worse = tasks["better"], tasks["worse"]
    gain = _gain(report)
    if better and worse:
        return (
            f"It depends on the task: {title} is better than tuned single-task networks for "
            f"{_names(better, n_tasks)} and worse (negative transfer) for {_names(worse, n_tasks)}{gain}."
        )
    if better:
        return f"Yes: {title} is better than tuned single-task networks for {_names(better, n_tasks)}{gain}."
    if worse:
        return (
            f"No: {title}, the best way of learning together, is worse than tuned single-task networks "
            f"(negative transfer) for {_names(worse, n_tasks)}{gain}."
        )
    if len(tasks["equivalent"]) == n_tasks:
        return f"It makes no difference that matters: {title} equals tuned single-task networks{gain}."
    n_seeds = min(gain.n for gain in report.tasks)
    if n_seeds < report.seeds_needed:
        return (
            f"Not settled: with {n_seeds} seed{'s' if n_seeds != 1 else ''} no test at the {100 * report.alpha:g} % "
            f"level is possible for {title} against tuned single-task networks{gain}; use {report.seeds_needed} seeds."
        )
    return f"No difference was found between {title} and tuned single-task networks{gain}."


def _second(overall: str, is_together: bool, is_reference: bool) -> str:
    if is_together:
        return "It is also the best of all candidates on the validation rows."
    if is_reference:
        return "On the validation rows the single-task networks are the best of all candidates."
    return f"The best of all candidates on the validation rows is another one: {overall}."


def _gain(report: TransferReport) -> str:
    mean = report.mean_gain
    if mean is None or not math.isfinite(mean.mean):
        return ""
    unit = " %" if report.is_relative else ""
    low, high = mean.interval
    interval = f", 95 % interval {low:+.1f} to {high:+.1f}{unit}" if math.isfinite(low) else ""
    return f" (mean gain {mean.mean:+.1f}{unit}{interval})"


def _names(names: Sequence[str], n_tasks: int) -> str:
    if n_tasks == 1:
        return "the only task"
    if len(names) == n_tasks:
        return f"all {n_tasks} tasks"
    if len(names) <= _NAMED:
        quoted = [f"'{name}'" for name in names]
        return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    return f"{len(names)} of {n_tasks} tasks"
