"""Bootstrap intervals: golden values, full enumeration, reproducibility."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from taskloom.errors import DataError
from taskloom.metrics import bootstrap_interval, two_level_bootstrap

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "statistics.json").read_text())
ENUMERATED = [case for case in GOLDEN["paired_tests"] if case["exhaustive_bootstrap"]]


@pytest.mark.parametrize("case", ENUMERATED, ids=lambda case: f"n={len(case['d'])}")
def test_golden(case: dict[str, Any]) -> None:
    interval = bootstrap_interval(case["d"])
    expected = case["exhaustive_bootstrap"]
    assert interval.n_resamples == expected["n_resamples"]
    assert interval.is_exact
    assert (interval.low, interval.high) == pytest.approx(tuple(expected["percentile_linear"]), rel=1e-9)


@given(d=hnp.arrays(np.float64, st.integers(1, 4), elements=st.floats(-100, 100)))
def test_enumeration_equals_brute_force(d: np.ndarray) -> None:
    means = [np.mean(sample) for sample in product(d, repeat=len(d))]
    interval = bootstrap_interval(d, confidence=0.8)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(means, [0.1, 0.9]), rtol=1e-9, atol=1e-9)


@given(d=hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(-100, 100)))
def test_never_leaves_the_range_of_the_data(d: np.ndarray) -> None:
    interval = bootstrap_interval(d)
    assert d.min() - 1e-9 <= interval.low <= interval.high <= d.max() + 1e-9


@pytest.mark.parametrize("n", [5, 8])
def test_order_of_seeds_does_not_matter(n: int) -> None:
    d = np.random.default_rng(0).normal(size=n)
    assert bootstrap_interval(d) == bootstrap_interval(d[::-1])


def test_random_resamples_are_reproducible_and_can_be_given() -> None:
    d = np.random.default_rng(0).normal(size=9)
    fixed = bootstrap_interval(d)
    assert fixed == bootstrap_interval(d)
    assert (fixed.n_resamples, fixed.is_exact) == (10_000, False)
    given_ones = bootstrap_interval(d, generator=np.random.default_rng(5))
    assert given_ones != fixed
    assert given_ones.low == pytest.approx(fixed.low, abs=0.05)
    assert given_ones == bootstrap_interval(d, generator=np.random.default_rng(5))


def test_below_ten_seeds_it_only_describes() -> None:
    assert bootstrap_interval(np.arange(9.0)).label == "descriptive"
    assert bootstrap_interval(np.arange(10.0)).label == "bootstrap"


def test_no_seeds_and_bad_settings() -> None:
    assert math.isnan(bootstrap_interval([]).low)
    with pytest.raises(DataError, match="confidence"):
        bootstrap_interval([1.0, 2.0], confidence=1.0)
    with pytest.raises(DataError, match="position 0"):
        bootstrap_interval([math.nan])


def test_two_levels_know_both_kinds_of_noise() -> None:
    random = np.random.default_rng(0)
    effects = random.normal(0.0, 1.0, size=12)
    rows = [effect + random.normal(0.0, 3.0, size=40) for effect in effects]
    both = two_level_bootstrap(rows)
    seeds_only = bootstrap_interval([row.mean() for row in rows])
    assert both.high - both.low > seeds_only.high - seeds_only.low
    means = np.array([row.mean() for row in rows])
    variance = means.var() / 12 + np.mean([row.var() / 40 for row in rows]) / 12
    assert both.high - both.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.05)
    assert not both.is_exact
    assert both.label == "bootstrap"


def test_two_levels_with_rows_that_agree_are_one_level() -> None:
    d = np.random.default_rng(0).normal(size=8)
    rows = two_level_bootstrap([np.full(5, value) for value in d])
    seeds = bootstrap_interval(d)
    assert (rows.low, rows.high) == pytest.approx((seeds.low, seeds.high), abs=0.05)


def test_two_levels_need_rows() -> None:
    with pytest.raises(DataError, match="without rows"):
        two_level_bootstrap([[1.0], []])
    with pytest.raises(DataError, match="seed 1: found nan"):
        two_level_bootstrap([[1.0], [math.nan]])
