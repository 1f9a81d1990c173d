"""Bad input ends in one paragraph, exit code 2, no traceback, and nothing written."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import taskloom as tl
from taskloom.cli.app import app

runner = CliRunner(env={"COLUMNS": "120"})

N_ROWS = 60


def good_rows() -> dict[str, list[object]]:
    """A table with two targets, a feature, a group and a task column."""
    return {
        "x": [round((7 * i % 60) / 10, 2) for i in range(N_ROWS)],
        "z": [(i * i) % 23 for i in range(N_ROWS)],
        "group": [f"g{i % 12}" for i in range(N_ROWS)],
        "school": ["north" if i % 2 else "south" for i in range(N_ROWS)],
        "price": [round((i * 37 % 101) / 7, 3) for i in range(N_ROWS)],
        "sold": ["yes" if (i * 13 % 7) > 3 else "no" for i in range(N_ROWS)],
    }


def text_of(columns: dict[str, list[object]]) -> str:
    lines = [",".join(columns)]
    lines += [",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines) + "\n"


def with_column(name: str, change: Callable[[int, object], object]) -> str:
    columns = good_rows()
    columns[name] = [change(row, value) for row, value in enumerate(columns[name])]
    return text_of(columns)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working folder; nothing may be trained in it."""
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("bad input must be found before anything is trained")

    monkeypatch.setitem(vars(tl), "compare", refuse)
    return tmp_path


def refused(arguments: list[str], folder: Path) -> str:
    """Run a command that must be refused; returns its message."""
    before = sorted(folder.rglob("*"))
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    paragraph = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(paragraph) == 1, result.stderr
    assert paragraph[0].startswith("error: ")
    assert sorted(folder.rglob("*")) == before
    return paragraph[0]


BAD_TABLES = {
    "empty file": ("", [], ["empty"]),
    "header only": ("x,price\n", [], ["row"]),
    "ragged": (text_of(good_rows()) + "1,2,3\n", [], ["62"]),
    "too many cells": (text_of(good_rows()) + "1,2,g,north,3,no,9,9\n", [], ["62"]),
    "badly quoted": (text_of(good_rows()) + '1,2,"g1,north,3,no\n', [], ["quot"]),
    "duplicate columns": (text_of(good_rows()).replace("x,z,", "x,x,", 1), [], ["duplicate", "x (columns 1, 2)"]),
    "unknown target": (text_of(good_rows()), ["--target", "prise"], ["'prise'", "Did you mean 'price'?"]),
    "constant target": (with_column("price", lambda row, value: 3.5), [], ["'price'", "3.5"]),
    "no labels": (with_column("price", lambda row, value: ""), [], ["'price'", "label"]),
    "one-member class": (
        with_column("sold", lambda row, value: "maybe" if row == 5 else value),
        [],
        ["'sold'", "maybe"],
    ),
    "infinite target": (
        with_column("price", lambda row, value: "inf" if row == 5 else value),
        [],
        ["'price'", "infinite"],
    ),
    "infinite feature": (with_column("x", lambda row, value: "-inf" if row == 5 else value), [], ["'x'", "infinite"]),
    "few labelled rows": (
        with_column("price", lambda row, value: value if row < 9 else ""),
        [],
        ["price (9)"],
    ),
    "column in two roles": (text_of(good_rows()), ["--group-column", "price"], ["'price'"]),
    "dropped target": (text_of(good_rows()), ["--drop", "price"], ["'price'"]),
    "one group": (with_column("group", lambda row, value: "g"), ["--group-column", "group"], ["group"]),
    "unknown kind": (text_of(good_rows()), ["--kind", "x=numerical"], ["numerical", "numeric"]),
    "kind of no column": (text_of(good_rows()), ["--kind", "y=numeric"], ["'y'"]),
    "unknown drop": (text_of(good_rows()), ["--drop", "xx"], ["'xx'"]),
    "two targets and a task column": (text_of(good_rows()), ["--task-column", "school"], ["one target"]),
    "unknown encoding": (text_of(good_rows()), ["--encoding", "utf-99"], ["utf-99"]),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_paragraph(place, case):
    text, more, words = BAD_TABLES[case]
    (place / "table.csv").write_text(text, encoding="utf-8")
    arguments = ["compare", "table.csv", "--target", "price", "--target", "sold", "--out", "runs/first", *more]
    message = refused(arguments, place)
    for word in words:
        assert word.casefold() in message.casefold(), message


@pytest.mark.parametrize("command", ["compare", "fit"])
def test_a_missing_file_is_named(place, command):
    message = refused([command, "missing.csv", "--target", "price"], place)
    assert "missing.csv" in message


def test_a_folder_in_place_of_a_table_is_refused(place):
    (place / "folder").mkdir()
    assert "folder" in refused(["compare", "folder", "--target", "price"], place)


def test_another_encoding_is_named(place):
    table = text_of(good_rows()).replace("north", "Zürich")
    (place / "table.csv").write_bytes(table.encode("cp1252"))
    message = refused(["compare", "table.csv", "--target", "price"], place)
    assert "--encoding" in message or "encoding" in message


def test_a_task_with_too_few_rows_is_named(place):
    table = with_column("school", lambda row, value: "한국/학교" if row < 4 else value)
    (place / "table.csv").write_text(table, encoding="utf-8")
    message = refused(["compare", "table.csv", "--target", "price", "--task-column", "school"], place)
    assert "한국/학교" in message
    assert "4" in message


@pytest.mark.parametrize("budget", ["0", "-3", "0m", "-2h", "0 trials", "soon", "", "nan", "1e400s", "1.5 trials"])
def test_a_budget_that_is_none_is_refused(place, budget):
    (place / "table.csv").write_text(text_of(good_rows()))
    message = refused(["compare", "table.csv", "--target", "price", f"--budget={budget}"], place)
    assert "budget" in message.casefold()


@pytest.mark.parametrize("kind", ["under a file", "a file", "a place without permission"])
def test_a_folder_that_cannot_be_written_is_named(place, kind):
    (place / "table.csv").write_text(text_of(good_rows()))
    (place / "taken").write_text("mine")
    out = {"under a file": "taken/run", "a file": "taken", "a place without permission": "/proc/taskloom-run"}[kind]
    message = refused(["compare", "table.csv", "--target", "price", "--out", out], place)
    assert f"'{out}'" in message
    assert "--out" in message


@pytest.mark.parametrize("cause", ["errno", "words"])
def test_a_full_disk_is_told_and_leaves_nothing(place, monkeypatch, cause):
    (place / "table.csv").write_text(text_of(good_rows()))

    def fill(data: object, *, out: Path, **options: object) -> None:
        (out / "study.db").write_text("")
        (out / "units").mkdir()
        if cause == "errno":
            raise OSError(errno.ENOSPC, "No space left on device")
        raise RuntimeError("database or disk is full")

    monkeypatch.setitem(vars(tl), "compare", fill)
    message = refused(["compare", "table.csv", "--target", "price", "--out", "runs/first"], place)
    assert "'runs/first' is full" in message


def test_a_copy_of_a_target_is_warned_about(place, monkeypatch):
    columns = good_rows()
    columns["copy"] = [2.0 * value for value in columns["price"]]
    (place / "table.csv").write_text(text_of(columns))
    seen = []

    def stop(data: tl.MultiTaskData, **options: object) -> None:
        seen.append(data)
        raise tl.StudyError("far enough")

    monkeypatch.setitem(vars(tl), "compare", stop)
    result = runner.invoke(app, ["compare", "table.csv", "--target", "price"])
    assert result.exit_code == 2
    assert seen
    warning = next(line for line in result.stderr.splitlines() if line.startswith("warning: "))
    assert "'copy'" in warning
    assert "1.0" in warning
    assert result.stderr.count("'copy'") + result.stdout.count("'copy'") == 1


def test_an_unreadable_configuration_is_refused(place):
    (place / "table.csv").write_text(text_of(good_rows()))
    (place / "study.yaml").write_text("sedes: 3\n")
    message = refused(["compare", "table.csv", "--target", "price", "--config", "study.yaml"], place)
    assert "Did you mean 'seeds'?" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "missing"], "'missing' holds no results"),
        (["predict", "missing", "table.csv", "--out", "p.csv"], "missing does not exist"),
        (["predict", "missing", "table.csv", "--out", "p.xlsx"], ".xlsx"),
    ],
)
def test_a_run_that_is_none_is_refused(place, arguments, words):
    (place / "table.csv").write_text(text_of(good_rows()))
    assert words in refused(arguments, place)
