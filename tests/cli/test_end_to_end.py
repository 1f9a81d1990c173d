"""The commands with the real library on a tiny table: compare, continue, report, fit, predict, stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import narwhals as nw
import numpy as np
import pytest
from typer.testing import CliRunner

import taskloom as tl
from taskloom.cli.app import app

runner = CliRunner(env={"COLUMNS": "120"})
BASIC = ["compare", "table.csv", "-t", "price", "-t", "sold", "--candidates", "linear", "--seeds", "2"]
QUICK = [*BASIC, "--budget", "1", "--out", "run"]


def read(file: Path) -> nw.DataFrame:
    return (nw.read_csv if file.suffix == ".csv" else nw.read_parquet)(str(file), backend="polars")


@pytest.fixture
def run(place) -> Path:
    """A finished comparison."""
    result = runner.invoke(app, QUICK)
    assert result.exit_code == 0, result.output
    return place / "run"


def test_a_comparison_is_continued_reported_and_used(run, place):
    before = {file: file.stat().st_mtime_ns for file in (run / "units").iterdir()}
    again = runner.invoke(app, QUICK)
    assert again.exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in (run / "units").iterdir()} == before  # nothing was run twice

    other = runner.invoke(app, [*QUICK, "--seed", "5"])
    assert other.exit_code == 2
    assert "holds another comparison" in other.stderr
    assert "seed: 0 there, 5 now" in other.stderr

    (run / "report.html").unlink()
    result = runner.invoke(app, ["report", "run"])
    assert result.exit_code == 0
    assert tl.Results.load(run).answer() in result.stdout
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    assert runner.invoke(app, ["report", "run", "--out", "other.html", "--quiet"]).stdout == "report: other.html\n"
    assert (place / "other.html").exists()

    for more in ([], ["--candidate", "single_task"]):
        result = runner.invoke(app, ["predict", "run", "table.csv", "--out", "predictions.csv", *more])
        assert result.exit_code == 0, result.output
        assert read(place / "predictions.csv").shape == (60, 4)
    unknown = runner.invoke(app, ["predict", "run", "table.csv", "--candidate", "pooled"])
    assert unknown.exit_code == 2
    assert "'pooled'" in unknown.stderr


def test_the_report_says_how_to_repeat_the_run(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["taskloom", *QUICK, "--kind", "z=categorical"])
    assert runner.invoke(app, sys.argv[1:]).exit_code == 0
    settings = json.loads((place / "run" / "config.json").read_text(encoding="utf-8"))["settings"]
    assert settings["command"] == " ".join(["taskloom", *QUICK, "--kind", "z=categorical"])


def test_a_run_prints_nothing_but_its_own_lines(place):
    done = subprocess.run(
        [sys.executable, "-m", "taskloom", *QUICK, "--quiet"], capture_output=True, text=True, timeout=250
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "report: run/report.html\n", "")


def test_a_stopped_run_is_continued(place):
    command = [*BASIC, "--budget", "6", "--out", "run"]
    started = subprocess.Popen(
        [sys.executable, "-m", "taskloom", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    units = place / "run" / "units"
    deadline = time.monotonic() + 200
    while not list(units.glob("*.json")) and time.monotonic() < deadline and started.poll() is None:
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 130, errors
    assert "stopped; run the same command to continue" in errors
    assert "Traceback" not in errors
    kept = set(units.glob("*.json"))
    assert kept
    assert not (place / "run" / "results").exists()
    assert runner.invoke(app, command).exit_code == 0
    assert kept < set(units.glob("*.json"))


@pytest.mark.parametrize("url", ["postgresql://nobody@localhost:1/none", "sqlite:////proc/none/study.db", "nonsense"])
def test_a_storage_that_cannot_be_reached_is_named(place, url):
    result = runner.invoke(app, [*QUICK, "--storage", url])
    assert result.exit_code == 2, result.output
    assert url in result.stderr
    assert "cannot be reached" in result.stderr
    assert not (place / "run").exists()


@pytest.mark.parametrize("candidate", ["hard_sharing", "single_task", "soft_sharing_mean", "transfer"])
def test_a_fitted_model_predicts(place, candidate):
    result = runner.invoke(
        app,
        ["fit", "table.csv", "-t", "price", "-t", "sold", "--candidate", candidate, "--max-epochs", "2",
         "--setting", "width=16", "--setting", "learning_rate=0.01"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    folder = place / "taskloom-runs" / f"table-{candidate}"
    assert result.stdout.splitlines()[-1] == f"model: {folder.relative_to(place)}"
    assert "Scores on the test rows" in result.stdout
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "model.safetensors"]
    assert runner.invoke(app, ["predict", str(folder), "table.csv", "--out", "p.parquet"]).exit_code == 0
    predictions = read(place / "p.parquet")
    assert predictions.columns == ["price", "sold", "sold: probability of no", "sold: probability of yes"]
    shares = predictions["sold: probability of no"] + predictions["sold: probability of yes"]
    np.testing.assert_allclose(shares.to_numpy(), 1.0)


@pytest.mark.parametrize("candidate", ["linear", "boosted_trees"])
def test_a_fitted_estimator_predicts(place, candidate):
    result = runner.invoke(
        app, ["fit", "table.csv", "-t", "price", "-t", "sold", "--candidate", candidate, "--out", "model"]
    )
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (place / "model").iterdir()) == ["estimators.skops", "model.json"]
    assert runner.invoke(app, ["predict", "model", "table.csv", "--out", "p.csv"]).exit_code == 0
    assert np.isfinite(read(place / "p.csv")["price"].to_numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--candidate", "hard_sahring"], "Did you mean 'hard_sharing'?"),
        (["--candidate", "linear", "--max-epochs", "3"], "'linear' is no network and has no epochs"),
        (["--candidate", "nonsense"], "unknown candidate 'nonsense'"),
        (["--candidate", "pooled"], "does not fit these data"),
        (["--setting", "widht=16"], "Did you mean 'width'?"),
        (["--setting", "width=wide"], "expected a value like"),
        (["--setting", "width"], "expected NAME=VALUE"),
        (["--max-epochs", "0"], "max_epochs"),
    ],
)
def test_what_cannot_be_fitted_is_refused(place, arguments, words):
    result = runner.invoke(app, ["fit", "table.csv", "-t", "price", "-t", "sold", "--out", "model", *arguments])
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (place / "model").exists()


def test_rows_of_several_data_sets_are_predicted_by_their_task(place):
    lines = ["x,학교,score", *(f"{i % 17},{('서울/1', 'north')[i % 2]},{i * 37 % 101}" for i in range(80))]
    (place / "schools.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    fitted = runner.invoke(
        app,
        ["fit", "schools.csv", "-t", "score", "--task-column", "학교", "--candidate", "conditioned_film", "--out", "m",
         "--max-epochs", "2"],
    )  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    result = runner.invoke(app, ["predict", "m", "schools.csv", "--out", "p.csv"])
    assert result.exit_code == 0, result.output
    predictions = read(place / "p.csv")
    assert predictions.columns == ["task", "prediction"]
    assert predictions["task"].to_list()[:2] == ["서울/1", "north"]
    assert np.isfinite(predictions["prediction"].to_numpy()).all()


def test_new_rows_without_a_feature_are_refused(place):
    assert runner.invoke(app, ["fit", "table.csv", "-t", "price", "-t", "sold", "--out", "m"]).exit_code == 0
    (place / "new.csv").write_text("x,zz,patient\n1,2,p1\n3,4,p2\n")
    result = runner.invoke(app, ["predict", "m", "new.csv", "--out", "p.csv"])
    assert result.exit_code == 2, result.output
    assert "'z'" in result.stderr
    assert not (place / "p.csv").exists()


def test_methods_are_listed_with_their_sources():
    listed = runner.invoke(app, ["methods"]).stdout
    for name in ("hard_sharing", "boosted_trees", "pcgrad", "uncertainty", "SoftSharing", "Candidates", "Balancers"):
        assert name in listed
    assert "Yu" in listed
    found = runner.invoke(app, ["methods", "film"]).stdout
    assert "conditioned_film" in found
    assert "pcgrad" not in found
    assert runner.invoke(app, ["methods", "no such thing"]).exit_code == 2
