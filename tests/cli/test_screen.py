"""What commands show on a terminal, in a file, and when they are quiet."""

from __future__ import annotations

import io
import sys

from taskloom.cli._screen import Screen


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_names_are_not_read_as_markup(capsys):
    screen = Screen()
    screen.say("[bold]a[/bold] :smile:")
    screen.table("Tasks [x]", ("task", "rows"), [("[red]수학/1[/red]", 3)], right=["rows"])
    shown = capsys.readouterr().out
    for text in ("[bold]a[/bold] :smile:", "Tasks [x]", "[red]수학/1[/red]"):
        assert text in shown


def test_long_lines_are_not_broken_in_a_file(capsys):
    Screen().say("word " * 100)
    assert capsys.readouterr().out.count("\n") == 1


def test_quiet_shows_only_answers_and_warnings(capsys):
    screen = Screen(quiet=True)
    screen.say("a")
    screen.table("b", ("c",), [("d",)])
    with screen.progress("e") as advance:
        advance(1, 2)
    screen.answer("report: f.html")
    screen.warn("look\nhere")
    shown = capsys.readouterr()
    assert shown.out == "report: f.html\n"
    assert shown.err == "warning: look here\n"


def test_what_was_a_warning_is_no_note_again(capsys):
    screen = Screen()
    screen.warn("leak")
    screen.note("leak")
    screen.note("ignored: id")
    assert capsys.readouterr().out == "note: ignored: id\n"


def test_progress_in_a_file_is_ten_lines_at_most(capsys):
    with Screen().progress("comparing") as advance:
        for done in range(1001):
            advance(done, 1000, "hard sharing")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "comparing: 10 %"
    assert lines[-1] == "comparing: 100 %"
    assert len(lines) == 10


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Screen().progress("comparing") as advance:
        advance(1, 2, "hard sharing")
        advance(2, 2, "[soft]")
    assert "comparing" in terminal.getvalue()


def test_progress_ends_when_the_work_fails(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    try:
        with Screen().progress("comparing") as advance:
            advance(1, 2)
            raise ValueError("stop")
    except ValueError:
        pass
    with Screen().progress("again") as advance:  # rich allows one live display: the first has been closed
        advance(1, 2)
