"""What ``compare`` and ``demo`` show in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from taskloom.cli._output import written_file
from taskloom.cli._screen import Screen

if TYPE_CHECKING:
    from taskloom.study.results import Results

__all__ = ["show_results"]


def show_results(screen: Screen, results: Results, folder: Path) -> None:
    """Write the report; show the answer, the verdicts and the candidates, and where the report lies.

    Args:
        screen: where.
        results: of a finished comparison.
        folder: the run's folder.

    Raises:
        ExportError: the report cannot be written.
    """
    from taskloom.report import console_summary

    report = folder / "report.html"
    with written_file(report) as part:
        results.report(part)
    if not screen.is_quiet:
        screen.show(console_summary(results))
    screen.answer(f"report: {report}")
