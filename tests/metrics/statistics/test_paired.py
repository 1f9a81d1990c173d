"""Paired tests: golden values, brute force, SciPy, and invariances."""

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
from scipy import stats

from taskloom.errors import DataError
from taskloom.metrics import sign_flip_test, smallest_p, t_interval, t_test, wilcoxon_test

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "statistics.json").read_text())
cases = pytest.mark.parametrize("case", GOLDEN["paired_tests"], ids=lambda case: f"n={len(case['d'])}")

few = hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(-1e3, 1e3))
few_whole = hnp.arrays(np.float64, st.integers(1, 8), elements=st.integers(-4, 4).map(float))
scales = st.floats(1e-6, 1e6)


@cases
def test_golden(case: dict[str, Any]) -> None:
    d = case["d"]
    assert np.mean(d) == pytest.approx(case["mean"], rel=1e-9)
    assert np.std(d, ddof=1) == pytest.approx(case["sd"], rel=1e-9)
    assert t_test(d) == pytest.approx(case["t_p"], rel=1e-9)
    assert t_interval(d) == pytest.approx(tuple(case["t_ci95"]), rel=1e-9)
    assert sign_flip_test(d) == pytest.approx(case["sign_flip"]["two_sided"], rel=1e-9)
    assert sign_flip_test(d, alternative="less") == pytest.approx(case["sign_flip"]["one_sided_less"], rel=1e-9)
    assert wilcoxon_test(d).p == pytest.approx(case["wilcoxon_exact_two_sided"], rel=1e-9)


@pytest.mark.parametrize("n", range(2, 11))
def test_golden_floor_is_reached_when_all_seeds_agree(n: int) -> None:
    floor = GOLDEN["min_two_sided_p_by_n"][str(n)]
    assert smallest_p(n) == floor
    d = np.linspace(1.0, 2.0, n)
    assert sign_flip_test(d) == floor
    assert wilcoxon_test(d).p == floor
    assert sign_flip_test(d, alternative="greater") == floor / 2


@given(d=few_whole, alternative=st.sampled_from(["two_sided", "less", "greater"]))
def test_sign_flips_equal_brute_force(d: np.ndarray, alternative: Any) -> None:
    null = [float(np.dot(signs, d)) for signs in product([1, -1], repeat=len(d))]  # whole numbers: exact sums
    observed = float(d.sum())
    extreme = {
        "two_sided": [abs(value) >= abs(observed) for value in null],
        "less": [value <= observed for value in null],
        "greater": [value >= observed for value in null],
    }[alternative]
    assert sign_flip_test(d, alternative=alternative) == np.mean(extreme)


@given(d=few_whole, scale=scales, data=st.data())
def test_order_and_unit_and_sign_do_not_matter(d: np.ndarray, scale: float, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(d))))
    for test in (sign_flip_test, lambda values: wilcoxon_test(values).p):
        assert test(d[list(order)]) == test(d)
        assert test(scale * d) == test(d)
        assert test(-d) == test(d)
    assert sign_flip_test(-d, alternative="less") == sign_flip_test(d, alternative="greater")
    assert wilcoxon_test(-d, alternative="less").p == pytest.approx(wilcoxon_test(d, alternative="greater").p)


@given(d=few)
def test_p_values_keep_their_bounds(d: np.ndarray) -> None:
    assert smallest_p(len(d)) <= sign_flip_test(d) <= 1.0
    assert 0.0 < wilcoxon_test(d).p <= 1.0
    low, high = t_interval(d)
    if len(d) > 1:
        assert low <= d.mean() + 1e-9
        assert high >= d.mean() - 1e-9


@pytest.mark.parametrize("n", [1, 3, 6])
def test_no_difference_at_all(n: int) -> None:
    zeros = np.zeros(n)
    assert sign_flip_test(zeros) == 1.0
    result = wilcoxon_test(zeros)
    assert (result.p, result.n_zeros) == (1.0, n)
    assert t_test(zeros) == 1.0 or n == 1


def test_more_seeds_than_can_be_enumerated_use_random_patterns() -> None:
    random = np.random.default_rng(0)
    d = random.normal(0.4, 1.0, size=25)
    p = sign_flip_test(d)
    assert p == sign_flip_test(d)  # the default stream is fixed
    assert p == pytest.approx(t_test(d), abs=0.01)
    other = sign_flip_test(d, generator=np.random.default_rng(1))
    assert other != p
    assert other == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 100_000))
    assert sign_flip_test(np.ones(25)) >= 1 / 100_001  # the observed pattern counts: never 0


def test_enumeration_and_random_patterns_agree_at_the_border() -> None:
    d = np.random.default_rng(3).normal(0.3, 1.0, size=21)
    exact = 0.5 * (sign_flip_test_of_sum(d[:-1], d[-1]) + sign_flip_test_of_sum(d[:-1], -d[-1]))
    assert sign_flip_test(d) == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 100_000))


def sign_flip_test_of_sum(d: np.ndarray, last: float) -> float:
    """Share of sign patterns of ``d`` whose sum with ``last`` is as extreme as the sum of the case above."""
    total = np.random.default_rng(3).normal(0.3, 1.0, size=21).sum()
    null = np.array([last])
    for value in d:
        null = np.concatenate([null + value, null - value])
    return float((np.abs(null) >= abs(total) - 1e-9).mean())


@given(d=hnp.arrays(np.float64, st.integers(2, 12), elements=st.floats(-10, 10), unique=True))
def test_signed_ranks_equal_scipy_without_ties(d: np.ndarray) -> None:
    sizes = np.abs(d)
    if len(np.unique(sizes)) < len(d) or sizes.min() < 1e-6 or np.diff(np.sort(sizes)).min() < 1e-9:
        return
    for ours, theirs in (("two_sided", "two-sided"), ("less", "less"), ("greater", "greater")):
        expected = stats.wilcoxon(d, method="exact", alternative=theirs)
        assert wilcoxon_test(d, alternative=ours).p == pytest.approx(expected.pvalue, rel=1e-9)  # type: ignore[arg-type]


@given(d=few_whole, zero_method=st.sampled_from(["wilcox", "pratt", "zsplit"]))
def test_signed_ranks_with_ties_and_zeros_equal_brute_force(d: np.ndarray, zero_method: Any) -> None:
    result = wilcoxon_test(d, zero_method=zero_method)
    assert result.n_zeros == (d == 0).sum()
    kept = d[d != 0] if zero_method == "wilcox" else d
    ranks = stats.rankdata(np.abs(kept))
    free = ranks[kept != 0]
    if len(free) == 0:
        assert result.p == 1.0
        return
    null = np.array([np.dot(signs, free) for signs in product([0, 1], repeat=len(free))])
    positive = ranks[kept > 0].sum()
    p = min(1.0, 2 * min((null <= positive).mean(), (null >= positive).mean()))
    assert result.p == pytest.approx(p, rel=1e-12)
    half = 0.5 * ranks[kept == 0].sum() if zero_method == "zsplit" else 0.0
    assert result.statistic == positive + half


def test_signed_ranks_of_many_seeds_approach_the_normal_law() -> None:
    d = np.random.default_rng(0).normal(0.1, 1.0, size=300)
    assert wilcoxon_test(d).p == pytest.approx(stats.wilcoxon(d, method="approx").pvalue, abs=2e-3)


@pytest.mark.parametrize(("n", "multiplier"), [(3, 4.303), (5, 2.776)])
def test_published_multipliers_of_t(n: int, multiplier: float) -> None:
    d = np.arange(float(n))
    low, high = t_interval(d)
    assert (high - low) / 2 / (d.std(ddof=1) / math.sqrt(n)) == pytest.approx(multiplier, abs=5e-4)


@given(d=hnp.arrays(np.float64, st.integers(2, 8), elements=st.integers(-50, 50).map(float)))
def test_t_equals_scipy(d: np.ndarray) -> None:
    if d.std() == 0:
        assert t_test(d) == (1.0 if d[0] == 0 else 0.0)
        assert t_interval(d) == (d[0], d[0])
        return
    assert t_test(d) == pytest.approx(stats.ttest_1samp(d, 0.0).pvalue, rel=1e-9, abs=1e-15)
    expected = stats.ttest_1samp(d, 0.0).confidence_interval(0.9)
    assert t_interval(d, confidence=0.9) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-9)


def test_one_seed_or_none() -> None:
    assert all(math.isnan(end) for end in t_interval([1.0]))
    assert math.isnan(t_test([1.0]))
    assert sign_flip_test([1.0]) == 1.0
    assert math.isnan(sign_flip_test([]))
    assert math.isnan(wilcoxon_test([]).p)


def test_bad_input_is_refused() -> None:
    for test in (sign_flip_test, wilcoxon_test, t_interval, t_test):
        with pytest.raises(DataError, match="position 1"):
            test([1.0, math.nan])
    with pytest.raises(DataError, match="confidence"):
        t_interval([1.0, 2.0], confidence=95)
