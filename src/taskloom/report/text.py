"""The same report for a terminal: the answer, the verdict per task and the candidates, as tables of rich.

Names are any text, so nothing is given to rich as markup. Verdicts are words with a symbol; colour only repeats them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from taskloom.report.reading import GainRow, Reading, read
from taskloom.report.words import (
    SIGN_CONVENTION,
    VERDICTS,
    count,
    duration,
    gain,
    interval,
    number,
    percent,
    verdict_words,
)

if TYPE_CHECKING:
    from taskloom.study.results import Results

__all__ = ["console_summary"]

_STYLES = {"better": "green", "worse": "red", "equivalent": "blue", "inconclusive": "dim"}
_EXTREMES = 5
_TASKS_LISTED = 12
_TASK_COLUMNS = 1  # more would not fit beside the costs on 80 columns


def console_summary(results: Results) -> Group:
    """Say the outcome of a comparison on a terminal.

    Args:
        results: the results of :func:`taskloom.compare` or :meth:`taskloom.Results.load`.

    Returns:
        something for ``rich.print`` or ``Console.print``: the answer, a table of verdicts (with many tasks: the
        counts, the highest and the lowest gains) and the table of candidates, best first.

    Example:
        >>> import rich, taskloom as tl
        >>> rich.print(console_summary(tl.Results.load("taskloom-runs/digits")))  # doctest: +SKIP
    """
    reading = read(results)
    parts: list[Text | Table] = [Text(reading.answer, style="bold"), Text()]
    rows = reading.gains.get(reading.focus, ())
    if rows:
        parts += _verdicts(reading, rows)
    parts += [_candidates(reading), Text(SIGN_CONVENTION, style="dim")]
    return Group(*parts)


def _verdicts(reading: Reading, rows: tuple[GainRow, ...]) -> list[Text | Table]:
    title = reading.candidate(reading.focus).title
    parts: list[Text | Table] = []
    shown = rows
    heading = f"Verdict per task: {title}"
    if len(rows) > _TASKS_LISTED:
        counted = Counter(row.verdict for row in rows)
        words = (f"{verdict.symbol} {counted.get(verdict.key, 0)} {verdict.word.lower()}" for verdict in VERDICTS)
        parts.append(Text(f"{len(rows)} tasks: {'   '.join(words)}"))
        ordered = sorted((row for row in rows if row.mean is not None), key=lambda row: -(row.mean or 0.0))
        if len(ordered) > 2 * _EXTREMES:
            shown = (*ordered[:_EXTREMES], *ordered[-_EXTREMES:])
            heading = f"Highest and lowest gains: {title}"
        else:
            shown = tuple(ordered)
    table = _table(heading)
    table.add_column("task", overflow="fold")
    table.add_column("verdict")
    table.add_column("gain", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    # Where no task can be tested, the notes below the table say so once.
    is_said_below = bool(reading.notes) and all(row.note.startswith("not testable") for row in rows)
    notes = [Text("" if is_said_below else row.note) for row in shown]
    with_notes = any(note.plain for note in notes)
    if with_notes:
        table.add_column("note", style="dim")
    for row, note in zip(shown, notes):
        words_of_row = verdict_words(row.verdict, row.flag)
        table.add_row(
            Text(row.task),
            Text(f"{words_of_row.symbol} {words_of_row.word}", style=_STYLES.get(row.verdict, "")),
            gain(row.mean, is_relative=reading.is_relative),
            interval(row.low, row.high, is_relative=reading.is_relative),
            *([note] if with_notes else []),
        )
    return [*parts, table, *(Text(note, style="dim") for note in reading.notes), Text()]


def _candidates(reading: Reading) -> Table:
    table = _table("Candidates")
    with_scores = len(reading.tasks) <= _TASK_COLUMNS
    table.add_column("candidate", overflow="fold")
    table.add_column("Δm", justify="right", no_wrap=True)
    for task in reading.tasks if with_scores else ():
        table.add_column(Text(f"{task.name} ({task.metric})"), justify="right", overflow="fold")
    for label in ("parameters", "training", "inference"):
        table.add_column(label, justify="right", no_wrap=True)
    for row in reading.candidates:
        is_best = row.name == reading.best
        inference = None if row.predict_microseconds is None else row.predict_microseconds * 1e-6
        scores = [number(score, 4) for score in row.scores] if with_scores else []
        table.add_row(
            Text(f"★ {row.title}" if is_best else row.title, style="bold" if is_best else ""),
            "reference" if row.name == reading.reference else percent(row.delta_m),
            *scores,
            count(row.parameters),
            duration(row.train_seconds),
            duration(inference),
        )
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
