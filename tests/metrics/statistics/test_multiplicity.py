"""Corrections for several tasks: golden values, textbook properties, SciPy."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from taskloom.errors import DataError
from taskloom.metrics import benjamini_hochberg, holm, seeds_needed, smallest_p

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "statistics.json").read_text())[
    "multiplicity"
]
p_values = hnp.arrays(np.float64, st.integers(1, 8), elements=st.floats(0.0, 1.0))


def test_golden() -> None:
    np.testing.assert_allclose(holm(GOLDEN["p"]), GOLDEN["holm"], rtol=1e-9)
    np.testing.assert_allclose(benjamini_hochberg(GOLDEN["p"]), GOLDEN["bh"], rtol=1e-9)


@given(p=p_values)
def test_between_no_correction_and_bonferroni(p: np.ndarray) -> None:
    bonferroni = np.minimum(1.0, len(p) * p)
    slack = 1e-15
    assert (p <= benjamini_hochberg(p) + slack).all()
    assert (benjamini_hochberg(p) <= holm(p) + slack).all()
    assert (holm(p) <= bonferroni + slack).all()


@given(p=p_values, data=st.data())
def test_order_of_tasks_does_not_matter(p: np.ndarray, data: st.DataObject) -> None:
    order = list(data.draw(st.permutations(range(len(p)))))
    for correct in (holm, benjamini_hochberg):
        np.testing.assert_allclose(correct(p[order]), correct(p)[order], rtol=1e-12)


@given(p=p_values)
def test_benjamini_hochberg_equals_scipy(p: np.ndarray) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)


@given(p=p_values)
def test_holm_equals_the_step_down_procedure(p: np.ndarray) -> None:
    for alpha in (0.01, 0.05, 0.2):
        rejected = np.zeros(len(p), dtype=bool)
        for step, place in enumerate(np.argsort(p, kind="stable")):
            if p[place] * (len(p) - step) > alpha:
                break
            rejected[place] = True
        np.testing.assert_array_equal(holm(p) <= alpha, rejected)


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
def test_tasks_without_a_test_do_not_count(correct: Any) -> None:
    corrected = correct([0.01, math.nan, 0.03])
    assert math.isnan(corrected[1])
    np.testing.assert_array_equal(corrected[[0, 2]], correct([0.01, 0.03]))
    assert np.isnan(correct([math.nan])).all()


@pytest.mark.parametrize("correct", [holm, benjamini_hochberg])
@pytest.mark.parametrize("p", [[-0.1], [1.1], [[0.5]]])
def test_only_p_values(correct: Any, p: Any) -> None:
    with pytest.raises(DataError, match="p values"):
        correct(p)


@given(n_tasks=st.integers(1, 1000), alpha=st.floats(1e-4, 0.5))
def test_seeds_needed_is_the_formula_and_is_sharp(n_tasks: int, alpha: float) -> None:
    n = seeds_needed(n_tasks, alpha)
    assert abs(n - (1 + math.ceil(math.log2(n_tasks / alpha)))) <= (0 if math.log2(n_tasks / alpha) % 1 > 1e-9 else 1)
    assert holm(np.full(n_tasks, smallest_p(n))).min() <= alpha
    assert holm(np.full(n_tasks, smallest_p(n - 1))).min() > alpha or n == 1


def test_published_numbers_of_seeds() -> None:
    assert seeds_needed(5, 0.05) == 8
    assert seeds_needed(1, 0.05) == 6
    assert [seeds_needed(k, 0.05, is_paired=False) for k in (1, 2, 5)] == [4, 5, 5]


@pytest.mark.parametrize(("n_tasks", "alpha"), [(0, 0.05), (1, 0.0), (1, 1.0), (1, math.nan)])
def test_seeds_needed_refuses_nonsense(n_tasks: int, alpha: float) -> None:
    with pytest.raises(DataError, match="n_tasks"):
        seeds_needed(n_tasks, alpha)
