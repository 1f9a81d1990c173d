"""Errors become one paragraph and an exit code."""

from __future__ import annotations

import errno

import pytest
import typer

from taskloom.cli._errors import friendly, is_disk_full, one_paragraph, reason
from taskloom.errors import DataError


def run(error: BaseException, *, debug: bool = False, can_continue: bool = False) -> int:
    @friendly(can_continue=can_continue)
    def command(debug: bool = False) -> None:
        raise error

    with pytest.raises(typer.Exit) as stopped:
        command(debug=debug)
    return stopped.value.exit_code


def test_a_taskloom_error_is_one_paragraph_and_code_2(capsys):
    assert run(DataError("found 'a'\nexpected 'b';\n  give 'b'")) == 2
    shown = capsys.readouterr()
    assert shown.err == "error: found 'a' expected 'b'; give 'b'\n"
    assert shown.out == ""


def test_debug_lets_the_error_through():
    @friendly()
    def command(debug: bool = False) -> None:
        raise DataError("bad")

    with pytest.raises(DataError):
        command(debug=True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x"), "the disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "secret.csv"),
            "cannot use 'secret.csv': permission denied",
        ),
        (MemoryError(), "out of memory"),
    ],
)
def test_errors_of_the_machine_are_explained(error, words, capsys):
    assert run(error) == 2
    assert words in capsys.readouterr().err


def test_a_mistake_of_ours_has_its_own_code_and_asks_for_a_report(capsys):
    assert run(KeyError("x")) == 1
    assert "--debug" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(capsys):
    assert run(KeyboardInterrupt(), can_continue=True) == 130
    assert capsys.readouterr().err == "stopped; run the same command to continue\n"
    assert run(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_a_full_disk_is_recognised_through_its_causes_and_words():
    error = RuntimeError("could not store the trial")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(error)
    assert is_disk_full(RuntimeError("(sqlite3.OperationalError) database or disk is full"))
    assert not is_disk_full(RuntimeError("other"))


def test_texts_are_joined_and_reasons_are_plain():
    assert one_paragraph(" a\n\n  b ") == "a b"
    assert reason(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) == "no such file or directory"
    assert reason(RuntimeError("Broken")) == "broken"
    assert reason(RuntimeError()) == "RuntimeError"
