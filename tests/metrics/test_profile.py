"""Performance profiles and mean ranks: golden values and invariants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from taskloom.errors import DataError
from taskloom.metrics import mean_rank, performance_profile

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "aggregates.json").read_text())

tables = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(1e-3, 1e3))


def test_golden_profile() -> None:
    case = GOLDEN["performance_profile"]
    factors = [float(factor) for factor in case["rho"]]
    profile = performance_profile(case["loss_tasks_by_methods"], factors=factors)
    np.testing.assert_allclose(profile.ratios, case["ratios"], rtol=1e-9)
    np.testing.assert_allclose(profile.shares, list(case["rho"].values()), rtol=1e-9)


@given(losses=tables)
def test_profiles_rise_from_wins_to_solved(losses: np.ndarray) -> None:
    profile = performance_profile(losses)
    assert (np.diff(profile.shares, axis=0) >= 0).all()
    np.testing.assert_array_equal(profile.shares[0], profile.wins)
    np.testing.assert_array_equal(profile.shares[-1], profile.solved)
    np.testing.assert_array_equal(profile.wins, (losses == losses.min(axis=1, keepdims=True)).mean(axis=0))


@given(losses=tables, factor=st.floats(0.01, 100.0))
def test_the_unit_of_a_task_does_not_matter(losses: np.ndarray, factor: float) -> None:
    scaled = losses.copy()
    scaled[0] *= factor
    np.testing.assert_allclose(performance_profile(scaled).ratios, performance_profile(losses).ratios, rtol=1e-12)


def test_failures_are_never_within_any_factor() -> None:
    profile = performance_profile([[1.0, np.inf], [np.nan, 2.0], [np.nan, np.nan]], factors=[1.0, 1e12, np.inf])
    np.testing.assert_allclose(profile.shares, 1 / 3)
    np.testing.assert_allclose(profile.solved, 1 / 3)


@pytest.mark.parametrize("losses", [[[1.0, 0.0]], [[1.0, -2.0]], [[1.0, -np.inf]]])
def test_losses_must_be_positive(losses: list[list[float]]) -> None:
    with pytest.raises(DataError, match="task 0, method 1"):
        performance_profile(losses)


@pytest.mark.parametrize("ties", ["average", "dense"])
def test_golden_mean_rank(ties: Any) -> None:
    case = GOLDEN["metric_cases"][0]
    lower = [not higher for higher in case["higher_is_better"]]
    ranks = mean_rank(np.array(case["methods"]).T, lower_is_better=lower, ties=ties)
    np.testing.assert_allclose(ranks, case[f"mean_rank_{ties}_ties"], rtol=1e-9)


@given(scores=hnp.arrays(np.float64, (3, 5), elements=st.integers(0, 4).map(float)))
def test_ranks_equal_those_of_scipy(scores: np.ndarray) -> None:
    np.testing.assert_allclose(mean_rank(scores), rankdata(scores, axis=1).mean(axis=0))
    np.testing.assert_allclose(mean_rank(scores, ties="dense"), rankdata(scores, "dense", axis=1).mean(axis=0))
    np.testing.assert_allclose(mean_rank(-scores, lower_is_better=False), mean_rank(scores))


def test_bad_tables_are_refused() -> None:
    with pytest.raises(DataError, match="shape"):
        performance_profile([1.0, 2.0])
    with pytest.raises(DataError, match="shape"):
        mean_rank([1.0])
    with pytest.raises(DataError, match="metric 0, method 1"):
        mean_rank([[1.0, np.nan]])
    with pytest.raises(DataError, match="ties"):
        mean_rank([[1.0, 2.0]], ties="min")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="2 directions for 1 metrics"):
        mean_rank([[1.0, 2.0]], lower_is_better=[True, False])
