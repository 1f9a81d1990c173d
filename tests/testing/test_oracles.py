"""The oracle runner: what passes, fails, is unsupported, and what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taskloom.errors import DataError
from taskloom.testing.oracles import check_file, main

INPUT = {"id": "one", "J": [[1.0, 0.0], [-1.0, 1.0]], "losses": [1.0, 2.0]}


def case(**changes: Any) -> dict[str, Any]:
    plain = {
        "id": "case",
        "method": "equal",
        "params": {"reduction": "mean"},
        "input": "one",
        "results": [{"reference": "hand", "weights": [0.5, 0.5], "direction": [0.0, 0.5]}],
        "expected": "hand",
        "compare": ["weights", "direction"],
        "rtol": 1e-12,
        "atol": 1e-12,
    }
    return {**plain, **changes}


def run(folder: Path, *cases: dict[str, Any], **lists: Any) -> list[tuple[str, str]]:
    file = folder / "values.json"
    file.write_text(json.dumps({"inputs": [INPUT], "cases": list(cases), **lists}))
    return [(outcome.status, outcome.reason) for outcome in check_file(file)]


def test_pass(tmp_path: Path) -> None:
    assert run(tmp_path, case()) == [("pass", "")]
    weights = {"reference": "hand", "weights": [2.0, 3.0]}
    fixed = case(method="fixed", params={"weights": [2.0, 3.0]}, results=[weights], compare=["weights"])
    assert run(tmp_path, fixed) == [("pass", "")]


def test_fail_says_by_how_much(tmp_path: Path) -> None:
    wrong = case(results=[{"reference": "hand", "weights": [0.5, 0.6], "direction": [0.0, 0.5]}])
    ((status, reason),) = run(tmp_path, wrong)
    assert status == "fail"
    assert "weights is off by 0.1" in reason
    shape = case(results=[{"reference": "hand", "weights": [0.5], "direction": [0.0, 0.5]}])
    assert "expected (1,)" in run(tmp_path, shape)[0][1]
    negative = case(
        method="uncertainty", params={"log_var": [0.0, 0.0], "factors": "0.5"}, compare=["weights"], input="two"
    )
    inputs = [INPUT, {"id": "two", "J": INPUT["J"], "losses": [1.0, -1.0]}]
    ((status, reason),) = run(tmp_path, negative, inputs=inputs)
    assert status == "fail"
    assert "BalanceError" in reason


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "no_such_method"},
        {"params": {"reduction": "mean", "rescale": 1}},
        {"compare": ["residual"]},
        {"expected": "nobody"},
        {"method": "pcgrad", "params": {"order": "descending", "reduction": "sum"}},
        {"method": "uncertainty", "params": {"log_var": [0.0, 0.0], "factors": "2.0"}},
        {"method": "uncertainty", "params": {"log_var": [0.0, 0.0], "kinds": ["regression", "ranking"]}},
    ],
)
def test_unsupported(tmp_path: Path, changes: dict[str, Any]) -> None:
    ((status, reason),) = run(tmp_path, case(**changes))
    assert status == "unsupported"
    assert reason


def test_an_input_without_a_solution_must_stay_finite(tmp_path: Path) -> None:
    assert run(tmp_path, case(results=[{"reference": "hand", "error": "no solution"}])) == [("pass", "")]


def test_other_lists_are_counted(tmp_path: Path) -> None:
    found = run(tmp_path, feature_cases=[{"id": "f"}], metric_cases=[{"id": "m"}], sequence_cases=[])
    assert [status for status, _ in found] == ["unsupported", "unsupported"]
    sequence = {"id": "s", "J": [INPUT["J"]], "losses": [INPUT["losses"]] * 2}
    unknown = case(sequence="s", method="famo")
    assert run(tmp_path, sequences=[sequence], sequence_cases=[unknown])[0][0] == "unsupported"


def test_feature_cases(tmp_path: Path) -> None:
    one = {
        "id": "graddrop",
        "method": "graddrop_feature",
        "params": {"leak": 0.0},
        "feature_grads": [[1.0, 2.0], [-3.0, 2.0]],
        "features": [1.0, 1.0],
        "shape": [2, 1, 2],
        "uniform": [0.5, 0.5],
        "results": [{"reference": "hand", "output": [-3.0, 4.0]}],
        "expected": "hand",
        "compare": ["output"],
        "rtol": 1e-12,
        "atol": 1e-12,
    }
    assert run(tmp_path, feature_cases=[one]) == [("pass", "")]
    wrong = {**one, "results": [{"reference": "hand", "output": [1.0, 4.0]}]}
    assert run(tmp_path, feature_cases=[wrong])[0][0] == "fail"
    for unknown in ({"method": "other"}, {"params": {"noise": 1.0}}, {"compare": ["weights"]}):
        assert run(tmp_path, feature_cases=[{**one, **unknown}])[0][0] == "unsupported"


def test_upper_bounds_flatten_batch_and_features(tmp_path: Path) -> None:
    """The two examples of task 0 have opposite gradients; summed over the batch they would vanish."""
    one = {
        "id": "imtl_g",
        "method": "imtl_g_ub",
        "params": {},
        "feature_grads": [[1.0, 0.0, -1.0, 0.0], [0.0, 2.0, 0.0, 2.0]],
        "shape": [2, 2, 2],
        "results": [{"reference": "hand", "weights": [2 / 3, 1 / 3]}],
        "expected": "hand",
        "compare": ["weights"],
        "rtol": 1e-9,
        "atol": 1e-12,
    }
    assert run(tmp_path, feature_cases=[one]) == [("pass", "")]


def test_metric_cases(tmp_path: Path) -> None:
    one = {
        "id": "metrics",
        "methods": [[1.1, 0.5, 0.9], [1.2, 0.5, 1.0]],
        "baseline": [1.0, 1.0, 1.0],
        "higher_is_better": [1, 0, 0],
        "task_of_metric": [0, 1, 1],
        "delta_per_task_first_improvement_positive": [20.0, 22.5],
        "delta_flat_drop_positive": [-70 / 3, -70 / 3],
        "mean_rank_average_ties": [(2 + 1.5 + 1) / 3, (1 + 1.5 + 2) / 3],
        "rtol": 1e-10,
    }
    assert run(tmp_path, metric_cases=[one]) == [("pass", "")]
    wrong = {**one, "mean_rank_average_ties": [1.0, 2.0]}
    status, reason = run(tmp_path, metric_cases=[wrong])[0]
    assert status == "fail"
    assert "mean_rank_average_ties" in reason


def test_exit_status_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, case(), case(id="other", method="famo"))
    file = str(tmp_path / "values.json")
    assert main([file]) == 0
    printed = capsys.readouterr().out
    assert "pass        case" in printed
    assert "unsupported other: method 'famo'" in printed
    assert printed.endswith("1 passed, 0 failed, 1 unsupported\n")
    assert main([file, "--quiet"]) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed, 1 unsupported\n"
    run(tmp_path, case(rtol=0.0, atol=0.0, results=[{"reference": "hand", "weights": [0, 1], "direction": [0, 0]}]))
    assert main([file]) == 1


def test_unreadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (None, "no json", "[]", json.dumps({"cases": [{}]}), json.dumps({"inputs": [], "cases": [case()]})):
        file = tmp_path / "broken.json"
        if text is not None:
            file.write_text(text)
        with pytest.raises(DataError, match="no readable file of oracle values"):
            check_file(file)
        assert main([str(file)]) == 2
        assert "broken.json" in capsys.readouterr().err


def test_runs_as_a_module(tmp_path: Path, repository: Path) -> None:
    run(tmp_path, case())
    finished = subprocess.run(
        [sys.executable, "-m", "taskloom.testing.oracles", str(tmp_path / "values.json")],
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith("1 passed, 0 failed, 0 unsupported\n")
    assert not finished.stderr
