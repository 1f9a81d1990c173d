"""The benchmark of the classical estimators at its smallest, and the certificate that everybody is measured by."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taskloom.solvers.row_descent import IS_COMPILED

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="compares compiled loops")

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return import_module("_classical.problems")


def objective(problem: Any, A: np.ndarray, alpha: float) -> float:
    squares = sum(float(r @ r) for r in problem.residuals(A))
    return squares / (2 * problem.divisor) + alpha * float(np.linalg.norm(A, axis=1).sum())


def test_a_certificate_is_above_the_true_distance(problems: Any) -> None:
    problem = problems.ragged((12, 20), 15)
    alpha = 0.2 * problem.largest_alpha
    best = import_module("_classical.peers").ragged_ways(problem, alpha)["loop over all rows"].solve(1e-12)
    assert problems.relative_gap(problem, best, alpha) <= 1e-12
    at_zero = objective(problem, np.zeros_like(best), alpha)
    random = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        near = best + size * random.normal(size=best.shape)
        distance = (objective(problem, near, alpha) - objective(problem, best, alpha)) / at_zero
        assert problems.relative_gap(problem, near, alpha) >= distance * (1 - 1e-9) > 0


def test_zeros_are_optimal_at_the_largest_alpha_only(problems: Any) -> None:
    for problem, shape in ((problems.shared(15, 8, 3), (8, 3)), (problems.ragged((9, 15), 8), (8, 2))):
        zeros, largest = np.zeros(shape), problem.largest_alpha
        assert problems.relative_gap(problem, zeros, largest) == pytest.approx(0, abs=1e-14)
        assert problems.relative_gap(problem, zeros, 0.9 * largest) > 1e-3


def test_a_ragged_problem_of_equal_designs_is_the_shared_one(problems: Any) -> None:
    one = problems.shared(15, 8, 3)
    other = problems.Ragged((one.X,) * 3, tuple(one.Y.T))
    A = np.random.default_rng(0).normal(size=(8, 3))
    assert other.largest_alpha == pytest.approx(one.largest_alpha)
    gaps = [problems.relative_gap(problem, A, 0.1 * one.largest_alpha) for problem in (one, other)]
    assert gaps[0] == pytest.approx(gaps[1])


@pytest.fixture
def record_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return import_module("_classical.record").Record


def test_a_stopped_run_goes_on(record_in: Any, tmp_path: Path) -> None:
    path, measured = tmp_path / "found.json", []

    def measure(cell: int, *, fails: bool = False) -> dict[str, int]:
        if fails:
            raise KeyboardInterrupt
        measured.append(cell)
        return {"seconds": 10 * cell}

    record_in(path, "other", setting={}).row({"n": 7}, lambda: measure(7))
    first = record_in(path, "one", setting={})
    first.row({"n": 1, "share": 0.5}, lambda: measure(1))
    with pytest.raises(KeyboardInterrupt):
        first.row({"n": 2, "share": 0.5}, lambda: measure(2, fails=True))
    second = record_in(path, "one", setting={})
    rows = [second.row({"n": n, "share": 0.5}, lambda n=n: measure(n)) for n in (1, 2)]
    assert measured == [7, 1, 2]
    assert [row["seconds"] for row in rows] == [10, 20]
    found = json.loads(path.read_text())
    assert [row["n"] for row in found["one"]["rows"]] == [1, 2]
    assert found["other"]["rows"][0]["seconds"] == 70
    assert [one.name for one in tmp_path.iterdir()] == ["found.json"]


def test_cells_are_measured_again_one_by_one(record_in: Any, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    first = record_in(path, "one", setting={"celer": "1"})
    for n in (1, 2, 3):
        first.row({"n": n}, lambda n=n: {"seconds": n})
    assert first.row({"n": 2}, dict)["seconds"] == 2
    again = record_in(path, "one", setting={"celer": "1"}, again=True)
    assert again.row({"n": 2}, lambda: {"seconds": 20})["seconds"] == 20
    assert [row["seconds"] for row in json.loads(path.read_text())["one"]["rows"]] == [1, 20, 3]
    assert record_in(path, "one", setting={"celer": "2"}).row({"n": 1}, lambda: {"seconds": 7})["seconds"] == 7
    assert [row["seconds"] for row in json.loads(path.read_text())["one"]["rows"]] == [7]


def test_smallest_contest(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    command = [
        sys.executable,
        str(SCRIPTS / "classical.py"),
        "shared",
        "ragged",
        "--sizes",
        "20x30x3",
        "--patience",
        "0",
    ]
    done = subprocess.run([*command, "--output", output], capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    for part in ("shared", "ragged"):
        rows = found[part]["rows"]
        assert [row["share"] for row in rows] == [0.5, 0.1, 0.01]
        assert all(row["ways"]["taskloom"]["gap"] <= 1e-6 for row in rows)
    assert "| n | d | T | share | taskloom |" in done.stdout
    again = subprocess.run([*command, "--output", output], capture_output=True, text=True, timeout=250, check=False)
    assert json.loads(output.read_text()) == found
    assert again.stdout == done.stdout


def test_smallest_growth(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    command = [sys.executable, str(SCRIPTS / "classical.py"), "growth", "--largest", "30", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text())["growth"]["rows"]
    assert [row["size"] for row in rows] == [10, 30] * 3
    assert all(row["converged"] for row in rows)
    assert "| coupled ridge | T: 10 to 30 |" in done.stdout
