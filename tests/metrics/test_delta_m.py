"""Delta_m: golden values, signs, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from taskloom.errors import DataError, TaskError
from taskloom.metrics import DeltaM, delta_m

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "aggregates.json").read_text())
CASE: dict[str, Any] = GOLDEN["metric_cases"][0]


def by_task(values: list[float]) -> dict[str, dict[str, Any]]:
    """A flat list of nine metrics as {task: {metric: value}}."""
    tasks: dict[str, dict[str, Any]] = {}
    for number, (task, value) in enumerate(zip(CASE["task_of_metric"], values, strict=True)):
        tasks.setdefault(f"task {task}", {})[f"metric {number}"] = value
    return tasks


def test_golden_three_tasks() -> None:
    case = GOLDEN["delta_m"]
    result = delta_m(case["multi"], case["single"], lower_is_better=case["lower_is_better"])
    assert result.value == pytest.approx(case["delta_m_percent"], rel=1e-9)
    assert result.tasks == pytest.approx(case["per_task_percent_gain"], rel=1e-9)


@pytest.mark.parametrize("method", range(5))
def test_golden_nine_metrics_of_three_tasks(method: int) -> None:
    lower = by_task([not higher for higher in CASE["higher_is_better"]])
    arguments = (by_task(CASE["methods"][method]), by_task(CASE["baseline"]))
    per_task = delta_m(*arguments, lower_is_better=lower)
    assert per_task.value == pytest.approx(CASE["delta_per_task_first_improvement_positive"][method], rel=1e-9)
    flat = delta_m(*arguments, lower_is_better=lower, per_task_first=False)
    assert flat.value == pytest.approx(CASE["delta_flat_improvement_positive"][method], rel=1e-9)
    drop = delta_m(*arguments, lower_is_better=lower, per_task_first=False, convention="drop")
    assert drop.value == pytest.approx(CASE["delta_flat_drop_positive"][method], rel=1e-9)


def test_the_sign_is_printed_beside_the_figure() -> None:
    arguments = ({"a": 0.9}, {"a": 1.0})
    assert str(delta_m(*arguments, lower_is_better=True)) == "Delta_m = +10.00% (positive: multi-task is better)"
    drop = delta_m(*arguments, lower_is_better=True, convention="drop")
    assert str(drop) == "Delta_m = -10.00% (drop, negative: multi-task is better)"
    assert drop.tasks == pytest.approx({"a": -10.0})
    assert "flat mean" in str(delta_m(*arguments, lower_is_better=True, per_task_first=False))


def test_a_baseline_of_zero_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"task 'a', metric 'error'.*is 0"):
        delta_m({"a": {"error": 1.0}}, {"a": {"error": 0.0}}, lower_is_better=True)


def test_scores_on_different_sides_of_zero_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"task '가격'.*different sides of 0"):
        delta_m({"가격": -0.1}, {"가격": 0.2}, lower_is_better=False)


def test_nan_gives_nan_and_names_the_metric() -> None:
    scores = {"a": {"x": math.nan, "y": 1.0}, "b": {"z": 2.0}}
    result = delta_m(scores, {"a": {"x": 1.0, "y": 1.0}, "b": {"z": 1.0}}, lower_is_better=True)
    assert math.isnan(result.value)
    assert result.notes == ("task 'a', metric 'x' is NaN.",)
    assert result.tasks["b"] == -100.0
    assert "metric 'x' is NaN" in str(result)
    assert math.isnan(float(delta_m({"a": 1.0}, {"a": math.nan}, lower_is_better=True)))


@pytest.mark.parametrize(
    ("scores", "reference", "message"),
    [
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}, "task 'b' has no multi-task score"),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0}, "task 'b' has no single-task score"),
        ({"a": {"rmse": 1.0}}, {"a": {"mae": 1.0}}, "task 'a': metric 'mae' has no multi-task score"),
        ({}, {}, "found no task"),
    ],
)
def test_missing_scores_are_named(scores: dict[str, Any], reference: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        delta_m(scores, reference, lower_is_better=True)


def test_missing_directions_and_unknown_conventions_are_named() -> None:
    with pytest.raises(TaskError, match="no entry for task 'b'"):
        delta_m({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, lower_is_better={"a": True})
    with pytest.raises(DataError, match="convention"):
        delta_m({"a": 1.0}, {"a": 1.0}, lower_is_better=True, convention="loss")  # type: ignore[arg-type]


def test_reference_holds_seeds_and_spread_and_refuses_other_data() -> None:
    reference = DeltaM.from_seeds({"a": {0: 1.0, 1: 3.0}, "b": {1: 4.0}}, lower_is_better=True, fingerprint="one")
    assert reference.reference == {"a": 2.0, "b": 4.0}
    assert reference.seeds == (0, 1)
    assert reference.spread == pytest.approx({"a": math.sqrt(2.0)})
    assert float(reference({"a": 1.0, "b": 4.0}, fingerprint="one")) == 25.0
    assert float(reference({"a": 1.0, "b": 4.0}, convention="drop")) == -25.0
    with pytest.raises(DataError, match=r"'two'.*'one'"):
        reference({"a": 1.0, "b": 4.0}, fingerprint="two")
