"""What ``taskloom compare`` asks the study for, and what it shows. The study itself is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import taskloom as tl
from taskloom.cli.app import app

runner = CliRunner(env={"COLUMNS": "120"})
BASIC = ["compare", "table.csv", "-t", "price", "-t", "sold"]


def test_options_reach_the_study(place, compared):
    (place / "study.yaml").write_text("seeds: 9\nmargin: 0.02\nkinds: {z: categorical}\nworkers: 2\n")
    result = runner.invoke(
        app,
        [*BASIC, "--config", "study.yaml", "--seeds", "3", "--budget", "90s", "--candidates", "linear, pooled",
         "--main", "price", "--seed", "7", "--alpha", "0.1", "--out", "runs/a", "--storage", "sqlite:///x.db",
         "--group-column", "patient", "--kind", "x=numeric"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (call,) = compared
    assert str(call["budget"]) == "90s"
    expected = {"seeds": 3, "seed": 7, "margin": 0.02, "alpha": 0.1, "workers": 2, "main": "price"}
    assert {name: call[name] for name in expected} == expected
    assert call["candidates"] == ["linear", "pooled"]
    assert call["storage"] == "sqlite:///x.db"
    assert call["out"] == Path("runs/a")
    assert isinstance(call["split"], tl.GroupedSplit)
    assert {column.name: column.kind for column in call["data"].features} == {"x": "numeric", "z": "categorical"}


def test_the_table_is_shown_before_anything_is_trained(place, monkeypatch):
    def stop(data: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(tl), "compare", stop)
    result = runner.invoke(app, BASIC)
    assert result.exit_code == 130
    assert "stopped; run the same command to continue" in result.stderr
    for text in ("regression", "binary", "categorical", "Labelled rows per task and part", "validation"):
        assert text in result.stdout


def test_results_end_with_the_answer_and_the_report(place, compared):
    result = runner.invoke(app, BASIC)
    lines = result.stdout.splitlines()
    assert lines[-1] == "report: taskloom-runs/table/report.html"
    assert lines[-2].rstrip() == "Yes, it is better. [bold]Sharing[/bold] helps."
    assert (place / "taskloom-runs" / "table" / "report.html").exists()


def test_quiet_says_only_where_the_report_lies(place, compared):
    result = runner.invoke(app, [*BASIC, "--quiet"])
    assert result.output == "report: taskloom-runs/table/report.html\n"


def test_progress_is_shown(place, monkeypatch, compared):
    answer = vars(tl)["compare"]

    def advance(data: object, **options: object) -> object:
        for done in range(1, 6):
            options["progress"](done, 5, "hard_sharing")
        return answer(data, **options)

    monkeypatch.setitem(vars(tl), "compare", advance)
    assert "comparing: 40 %\n" in runner.invoke(app, BASIC).stderr


@pytest.mark.parametrize("name", ["가격 / m2.값", "[bold]price[/bold]"])
def test_a_task_may_have_any_name(place, compared, name):
    table = (place / "table.csv").read_text().replace("price", name)
    (place / "표.csv").write_text(table, encoding="utf-8")
    result = runner.invoke(app, ["compare", "표.csv", "-t", name, "-t", "sold"])
    assert result.exit_code == 0, result.output
    assert name in result.stdout
    assert result.stdout.splitlines()[-1] == "report: taskloom-runs/표/report.html"
    assert (place / "taskloom-runs" / "표").is_dir()


def test_a_mistake_of_the_library_is_told_without_a_traceback(place, monkeypatch):
    def fail(data: object, **options: object) -> None:
        raise KeyError("missing")

    monkeypatch.setitem(vars(tl), "compare", fail)
    result = runner.invoke(app, BASIC)
    assert result.exit_code == 1
    assert "not your mistake" in result.stderr
    assert "Traceback" not in result.output
    assert not (place / "taskloom-runs").exists()
    assert isinstance(runner.invoke(app, [*BASIC, "--debug"]).exception, KeyError)
