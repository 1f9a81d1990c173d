"""What ``compare`` and ``demo`` show: the table as it was understood, and the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskloom.cli._screen import Screen

if TYPE_CHECKING:
    from taskloom.study.results import Results

__all__ = ["show_results"]

_MOST_TASKS = 20


def show_results(screen: Screen, results: Results, folder: Path) -> None:
    """Show the table of candidates, the verdicts of the best one, the answer, and where the report lies.

    Args:
        screen: where.
        results: of a finished comparison.
        folder: the run's folder, which holds ``report.html``.
    """
    screen.table(
        "Candidates, best first (Delta_m: mean relative gain over single tasks in %; positive = better together)",
        ("candidate", "Delta_m", "parameters", "training", "prediction per row"),
        [_candidate_row(row) for row in results.table().rows(named=True)],
        right=("Delta_m", "parameters", "training", "prediction per row"),
    )
    best = results.best().candidate
    verdicts = [row for row in results.verdicts().rows(named=True) if row["candidate"] == best]
    if verdicts:
        screen.table(
            f"{best}, task by task, against single-task learning (gain with its 95 % interval)",
            ("task", "verdict", "gain", "from", "to", "p (corrected)"),
            [_verdict_row(row) for row in verdicts[:_MOST_TASKS]],
            right=("gain", "from", "to", "p (corrected)"),
        )
        if len(verdicts) > _MOST_TASKS:
            counts = Counter(row["verdict"] for row in verdicts)
            summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
            screen.say(f"... and {len(verdicts) - _MOST_TASKS} more; all {len(verdicts)} tasks: {summary}")
    screen.say(results.answer())
    screen.answer(f"report: {folder / 'report.html'}")


def _candidate_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        str(row["title"]),
        _number(row["delta_m"], "+.2f"),
        _number(row["parameters"], ",.0f"),
        _number(row["train_seconds"], ".2f", " s"),
        _number(row["predict_microseconds"], ".2f", " us"),
    )


def _verdict_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    flag = f" ({row['flag']})" if row["flag"] else ""
    return (
        str(row["task"]),
        f"{row['verdict']}{flag}",
        _number(row["mean_gain"], "+.2%"),
        _number(row["low"], "+.2%"),
        _number(row["high"], "+.2%"),
        _number(row["corrected_p"], ".3f"),
    )


def _number(value: float | None, form: str, unit: str = "") -> str:
    """A number, or a dash where there is none."""
    if value is None or value != value:
        return "-"
    return format(value, form) + unit
