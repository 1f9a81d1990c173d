"""What commands show: plain lines, tables and a progress bar, on a terminal or in a file."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from taskloom.cli._errors import one_paragraph

__all__ = ["Advance", "Screen"]

_WIDTH_OF_FILES = 120


class Advance(Protocol):
    """Tell the progress bar how far the work is."""

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """Show that ``done`` of ``total`` pieces are finished and what is going on now."""


class Screen:
    """Where a command shows things: answers on the output stream, progress on the error stream.

    Names of columns and tasks may be any text, so nothing is read as markup.

    Args:
        quiet: show only what :meth:`answer` is given.

    Example:
        >>> Screen().say("[red] is a task")
        [red] is a task
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.is_quiet = quiet
        self._output = _console(to_errors=False)
        self._warned: set[str] = set()

    def say(self, text: str = "") -> None:
        """Show one line, unless quiet."""
        if not self.is_quiet:
            self._output.print(text, soft_wrap=True)

    def show(self, made: RenderableType) -> None:
        """Show what another package has made for a terminal, unless quiet."""
        if not self.is_quiet:
            self._output.print(made)

    def warn(self, text: str) -> None:
        """Show one line on the error stream, even when quiet: something a person should look at."""
        self._warned.add(text)
        print(f"warning: {one_paragraph(text)}", file=sys.stderr)

    def answer(self, text: str) -> None:
        """Show one line, even when quiet: where the result lies."""
        self._output.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Show one line, unless quiet or already shown as a warning."""
        if text not in self._warned:
            self.say(f"note: {text}")

    def table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Container[str] = ()
    ) -> None:
        """Show a table, unless quiet; the columns named in ``right`` hold numbers and end at one line."""
        if self.is_quiet:
            return
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self._output.print(title, style="bold", soft_wrap=True)
        self._output.print(table)

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        """A progress bar on a terminal; a line for every tenth of the work elsewhere; nothing when quiet."""
        if self.is_quiet:
            yield _silent
        elif not sys.stderr.isatty():
            yield _Lines(title)
        else:
            yield from _bar(title)


def _console(*, to_errors: bool) -> Console:
    stream = sys.stderr if to_errors else sys.stdout
    width = None if stream.isatty() else _WIDTH_OF_FILES
    return Console(stderr=to_errors, markup=False, emoji=False, highlight=False, width=width)


def _silent(done: float, total: float, text: str = "") -> None:
    return None


class _Lines:
    """Progress for a log file: ten lines at most, however many steps there are."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = 0

    def __call__(self, done: float, total: float, text: str = "") -> None:
        tenth = int(10 * done / total) if total > 0 else 0
        if tenth > self._shown:
            self._shown = tenth
            print(f"{self._title}: {10 * tenth} %", file=sys.stderr, flush=True)


def _bar(title: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=_console(to_errors=True), transient=True) as bar:
        job: TaskID = bar.add_task(title, total=None, text="")

        def advance(done: float, total: float, text: str = "") -> None:
            bar.update(job, completed=done, total=total, text=text)

        yield advance
