from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from taskloom.report.figures import MANY_TASKS, figure_numbers, numbers_as_json
from taskloom.report.reading import read

Make = Callable[..., Any]


def numbers_of(results: Any) -> dict[str, Any]:
    return json.loads(numbers_as_json(figure_numbers(results, read(results))))


def test_numbers_agree_with_the_results(make_results: Make) -> None:
    results = make_results(tasks=2, epochs=10)
    numbers = numbers_of(results)
    gains = results.gains("hard_sharing")
    for row, gain in zip(numbers["gains"]["hard_sharing"], gains.tasks, strict=True):
        assert numbers["tasks"][row["task"]] == gain.task
        assert row["verdict"] == gain.verdict
        assert [row["mean"], row["low"], row["high"]] == pytest.approx([gain.mean, *gain.interval], rel=1e-3)
        assert row["seeds"] == pytest.approx(list(gain.gains), rel=1e-3)
    curve = numbers["curves"]["hard_sharing"]["1"]
    frame = results.curves.filter(candidate="hard_sharing", task=numbers["tasks"][1])
    mean = frame.select("epoch", "validation_loss").group_by("epoch").mean().sort("epoch")["validation_loss"]
    assert curve["v"] == pytest.approx(mean.to_list(), rel=1e-3)
    cosine = results.conflicts.filter(candidate="hard_sharing").select("epoch", "cosine").group_by("epoch").mean()
    assert numbers["conflicts"]["hard_sharing"]["cosine"][0] == pytest.approx(
        cosine.sort("epoch")["cosine"].to_list(), rel=1e-3, abs=1e-3
    )


def test_equal_weights_are_not_drawn(make_results: Make) -> None:
    assert list(numbers_of(make_results(epochs=5))["weights"]) == ["hard_sharing_uncertainty"]


def test_no_conflicts_and_no_weights(make_results: Make) -> None:
    numbers = numbers_of(make_results(epochs=5, with_conflicts=False, with_weights=False))
    assert numbers["conflicts"] == {}
    assert numbers["weights"] == {}


def test_a_task_with_nan_has_no_nan_in_the_page(make_results: Make) -> None:
    results = make_results(epochs=5, missing="motor UPDRS")
    numbers = numbers_of(results)  # json.loads of NaN would give a float; numbers_as_json would have raised
    row = numbers["gains"]["hard_sharing"][0]
    assert row["n"] == 4
    assert row["seeds"][0] is None
    assert "NaN" not in numbers_as_json(numbers)


def test_many_tasks_are_summarised(make_results: Make) -> None:
    results = make_results(tasks=MANY_TASKS + 5, seeds=2, epochs=3)
    numbers = numbers_of(results)
    conflicts = numbers["conflicts"]["hard_sharing"]
    assert conflicts["n"] == 25 * 24 // 2
    assert len(conflicts["pairs"]) == len(conflicts["cosine"]) == 20
    assert len(conflicts["spread"]["middle"]) == 3
    every = results.conflicts.filter(candidate="hard_sharing").select("task_a", "task_b", "cosine")
    means = np.sort(every.group_by("task_a", "task_b").mean()["cosine"].to_numpy())
    assert conflicts["mean"][:10] == pytest.approx(means[:10].tolist(), rel=1e-3)
    assert conflicts["mean"][10:] == pytest.approx(means[-10:].tolist(), rel=1e-3)
    assert len(numbers["weights"]["hard_sharing_uncertainty"]["tasks"]) == 8


def test_long_curves_are_thinned_but_keep_their_lowest_point(make_results: Make) -> None:
    results = make_results(tasks=1, seeds=2, epochs=400, with_conflicts=False, with_weights=False)
    curve = numbers_of(results)["curves"]["hard_sharing"]["0"]
    frame = results.curves.filter(candidate="hard_sharing").select("epoch", "validation_loss").group_by("epoch").mean()
    assert len(curve["e"]) <= 81
    assert (curve["e"][0], curve["e"][-1]) == (1, 400)
    assert min(curve["v"]) == pytest.approx(frame["validation_loss"].min(), rel=1e-3)


def test_a_run_that_stops_early_does_not_bend_the_mean(make_results: Make) -> None:
    results = make_results(tasks=1, seeds=3, epochs=10)
    late = (results.curves["seed"] == 0) | (results.curves["epoch"] < 4)
    results = replace(results, curves=results.curves.filter(late))
    curve = numbers_of(results)["curves"]["hard_sharing"]["0"]
    assert curve["e"] == [1, 2, 3, 4]
    assert curve["se"] == list(range(1, 11))


def test_json_cannot_end_its_script() -> None:
    text = numbers_as_json({"name": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": "</script><!-- & \u2028"}
