"""``taskloom demo`` hands its options on and shows the results; the demonstration itself is replaced."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

import taskloom as tl
from taskloom.cli.app import app

runner = CliRunner()


def test_options_reach_the_demonstration(place, compared, monkeypatch):
    calls = []

    def demo(**options: object) -> object:
        calls.append(options)
        return vars(tl)["compare"](None)

    monkeypatch.setitem(vars(tl), "demo", demo)
    result = runner.invoke(app, ["demo", "--seed", "3", "--quick"])
    assert result.exit_code == 0, result.output
    assert callable(calls[0].pop("progress"))
    assert calls == [{"out": Path("taskloom-runs/demo"), "seed": 3, "quick": True}]
    assert result.stdout.splitlines()[-1] == "report: taskloom-runs/demo/report.html"
    assert (place / "taskloom-runs" / "demo" / "report.html").exists()


def test_a_seed_below_zero_is_refused(place):
    assert runner.invoke(app, ["demo", "--seed", "-1"]).exit_code == 2
    assert not (place / "taskloom-runs").exists()
