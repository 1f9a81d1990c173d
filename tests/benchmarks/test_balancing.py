"""The smallest cell of the comparison with TorchJD runs and writes what it should; so do its parts."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
NEEDED = ("cvxpy", "numba", "torchjd")  # the extra "benchmarks"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules that the scripts share, by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        return import_module(name)

    return load


def cell(method: str, *, over_equal: float, over_peer: float) -> dict[str, Any]:
    def known(value: float) -> dict[str, float]:
        return {"median": value, "low": value - 0.1, "high": value + 0.1}

    return {
        "method": method,
        "equal_ms": known(2.0),
        "ratio": {"taskloom": known(over_equal), "k_passes": known(over_equal / over_peer)},
        "quickest_peer": "k_passes",
        "to_quickest_peer": known(over_peer),
    }


def block(taskloom: int, *cells: dict[str, Any]) -> dict[str, Any]:
    peaks = {"equal": 1 << 20, "taskloom": taskloom << 20, "torchjd": None, "k_passes": 4 << 20}
    return {"workload": "small", "tasks": 2, "peak_bytes": peaks, "cells": list(cells)}


def test_smallest_cell(tmp_path: Path) -> None:
    for name in NEEDED:
        pytest.importorskip(name)
    output = tmp_path / "found.json"
    command = [sys.executable, SCRIPTS / "balancing.py", "--workloads", "tiny", "--tasks", "3", "--methods", "pcgrad"]
    command += ["nash_mtl", "--turns", "2", "--seconds", "0", "--output", output]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "| tiny | 3 |" in done.stdout

    found = json.loads(output.read_text())
    assert found["setting"]["torch"] == torch.__version__
    (only,) = found["blocks"]
    assert (only["workload"], only["tasks"]) == ("tiny", 3)
    assert only["shared_parameters"] == 16 * 64 + 64 + 64 * 64 + 64
    assert set(only["torchjd_settings"]) >= {"autogram", "autojac, 1 at once, summed Gramians"}
    gradients = 4 * 3 * only["shared_parameters"]  # K rows of P numbers
    assert only["peak_bytes"]["k_passes"] > max(gradients, only["peak_bytes"]["equal"])
    assert [one["method"] for one in only["cells"]] == ["pcgrad", "nash_mtl"]
    for one in only["cells"]:
        assert one["turns"] == 2
        assert set(one["ratio"]) == {"taskloom", "torchjd", "k_passes"}
        for spread in (*one["ratio"].values(), one["equal_ms"], one["to_quickest_peer"]):
            assert 0 < spread["low"] <= spread["median"] <= spread["high"]
        assert one["error"]["taskloom"] < 1e-4
        assert one["error"]["k_passes"] < 1e-2


def test_smallest_trunk() -> None:
    for name in NEEDED:
        pytest.importorskip(name)
    command = [sys.executable, str(SCRIPTS / "features.py"), "--trunks", "tiny", "--tasks", "3"]
    done = subprocess.run(
        [*command, "--turns", "1", "--seconds", "0"], capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| tiny")]
    assert len(rows) == 7
    for _, _, n_tasks, _, ratio, peak, error, _ in rows:
        assert int(n_tasks) == 3
        assert 0.2 < float(ratio.split()[0]) < 100
        assert float(peak) > 1
        assert float(error) < 1e-4


def test_peak_of_memory(part: Any) -> None:
    kept: list[torch.Tensor] = []

    def step() -> None:
        if not kept:
            kept.append(torch.ones(1000))  # what a first call keeps counts
            torch.ones(100_000)  # what it drops does not
        one = torch.ones(500)
        two = one + 1
        del one
        (two * kept[0][:500]).sum()

    found = part("_measuring").peak_bytes(step, torch.device("cpu"))
    assert 4 * 2000 <= found <= 4 * 2000 + 512


def test_relative_error(part: Any) -> None:
    exact = [torch.tensor([3.0, 0.0], dtype=torch.float64), torch.tensor([4.0], dtype=torch.float64)]
    error = part("_measuring").relative_error
    assert error([torch.tensor([3.0, 0.5]), torch.tensor([4.0])], exact) == pytest.approx(0.1)
    assert error([None, torch.tensor([4.0])], exact) == pytest.approx(0.6)


def test_shortfalls_are_named(part: Any) -> None:
    shortfalls = part("_tables").shortfalls
    level, behind = cell("mgda", over_equal=2.0, over_peer=1.04), cell("upgrad", over_equal=3.0, over_peer=1.2)
    assert shortfalls([block(4, level)]).startswith("nowhere")
    said = shortfalls([block(5, level, behind)]).splitlines()
    assert len(said) == 2
    assert "upgrad" in said[0]
    assert "1.250 times K passes" in said[1]


def test_table_names_the_worst_method(part: Any) -> None:
    cells = [cell("mgda", over_equal=2.0, over_peer=0.9), cell("upgrad", over_equal=3.0, over_peer=1.2)]
    row = part("_tables").markdown([block(3, *cells)]).splitlines()[-1]
    assert "upgrad, 1.20" in row
    assert "1, 3, -, 4" in row
    assert "2.5 (2.0-3.0)" in row


@pytest.mark.parametrize("name", ["lenet", "own batches", "one label", "library"])
def test_workloads_are_the_same_in_both_precisions(name: str, part: Any) -> None:
    make = part("_workloads").make_work
    first, second = make(name, 2).losses(), make(name, 2).copy(torch.float64).losses()
    assert list(first) == ["t0", "t1"]
    for task, loss in first.items():
        torch.testing.assert_close(loss.double(), second[task], rtol=1e-4, atol=1e-6)
