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

pytest.importorskip("numba")

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
