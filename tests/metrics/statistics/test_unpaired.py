"""Independent runs: permutation test and Welch's interval against SciPy and enumeration."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from taskloom.metrics import permutation_test
from taskloom.metrics.statistics import smallest_p_unpaired, welch_interval

groups = hnp.arrays(np.float64, st.integers(1, 4), elements=st.integers(-9, 9).map(float))


@pytest.mark.parametrize(("n", "floor"), [(3, 0.1), (4, 2 / 70), (5, 2 / 252)])
def test_published_floors_are_reached(n: int, floor: float) -> None:
    assert smallest_p_unpaired(n, n) == pytest.approx(floor, rel=1e-12)
    assert permutation_test(np.arange(n), 100.0 + np.arange(n)) == pytest.approx(floor, rel=1e-12)


def test_unequal_groups_reach_a_lower_floor() -> None:
    assert permutation_test([1.0, 2.0], [50.0, 60.0, 70.0]) == smallest_p_unpaired(2, 3) == 0.1
    assert math.isnan(smallest_p_unpaired(0, 3))


@given(first=groups, second=groups)
def test_equals_brute_force(first: np.ndarray, second: np.ndarray) -> None:
    pooled, n = np.concatenate([first, second]), len(first)

    def difference(chosen: tuple[int, ...]) -> float:
        inside = pooled[list(chosen)]
        return float(inside.mean() - np.delete(pooled, list(chosen)).mean())

    null = np.array([difference(chosen) for chosen in combinations(range(len(pooled)), n)])
    observed = first.mean() - second.mean()
    assert permutation_test(first, second) == pytest.approx((np.abs(null) >= abs(observed) - 1e-9).mean())
    assert permutation_test(first, second, alternative="less") == pytest.approx((null <= observed + 1e-9).mean())


@given(first=groups, second=groups)
def test_swapping_the_groups_swaps_the_sides(first: np.ndarray, second: np.ndarray) -> None:
    assert permutation_test(first, second) == pytest.approx(permutation_test(second, first))
    assert permutation_test(first, second, alternative="less") == pytest.approx(
        permutation_test(second, first, alternative="greater")
    )


def test_large_groups_use_random_splits() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=14), random.normal(0.7, 1.0, size=14)
    p = permutation_test(first, second)
    assert p == permutation_test(first, second)
    assert p == pytest.approx(stats.ttest_ind(first, second).pvalue, abs=0.02)


def test_interval_equals_scipy() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=5), random.normal(1.0, 4.0, size=7)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert welch_interval(first, second) == pytest.approx(tuple(expected), rel=1e-9)


def test_interval_of_groups_without_spread_or_size() -> None:
    assert welch_interval([1.0, 1.0], [3.0, 3.0]) == (-2.0, -2.0)
    assert all(math.isnan(end) for end in welch_interval([1.0], [3.0, 4.0]))
    assert math.isnan(permutation_test([], [1.0]))
