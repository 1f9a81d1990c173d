"""Coordinate descent on single rows: rows in two parts end where no direction helps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.solvers.row_descent import RowTerms, descend_gradients

POWERS = [2.0, np.inf]
SIZES = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=1, max_size=6)


def norms(v: np.ndarray, q: float) -> tuple[float, float]:
    """The norm and its polar."""
    return (np.linalg.norm(v), np.linalg.norm(v)) if q == 2 else (np.abs(v).max(), np.abs(v).sum())


@pytest.mark.parametrize("q", POWERS)
@pytest.mark.parametrize("is_equal", [True, False], ids=["one_curvature", "own_curvatures"])
@settings(max_examples=60, deadline=None)
@given(values=SIZES, strength=st.floats(0.05, 20), entry=st.floats(0.05, 5))
def test_a_row_in_two_parts_ends_at_its_minimum(
    q: float, is_equal: bool, values: list[float], strength: float, entry: float
) -> None:
    r = np.array(values)[:, None]
    curvatures = np.ones(len(r)) if is_equal else np.linspace(0.5, 2.0, len(r))
    parts, gradients = np.zeros((2, len(r), 1)), r.copy()
    square = 2 * float((r[:, 0] ** 2 / curvatures).sum()) + 1.0
    made, gap = descend_gradients(
        parts, gradients, grams=curvatures[:, None, None], r=r, square=square, ridge=0.0,
        terms=RowTerms(np.array([strength]), np.array([q]), np.array([entry])), passes=200, target=1e-12 * square,
    )  # fmt: skip
    shared, own, g = parts[0, :, 0], parts[1, :, 0], r[:, 0] - curvatures * parts.sum(axis=0)[:, 0]
    np.testing.assert_allclose(gradients[:, 0], g, atol=1e-12 * square)
    rounding = 1e-5 * (1 + np.abs(r).max())
    length = norms(shared, q)[0]
    assert norms(g, q)[1] <= strength + rounding
    assert np.abs(g).max() <= entry + rounding
    assert g @ shared == pytest.approx(strength * length, abs=rounding * (1 + length))
    assert g @ own == pytest.approx(entry * np.abs(own).sum(), abs=rounding * (1 + np.abs(own).sum()))
    assert gap <= 1e-12 * square
    assert made <= 10 if is_equal else made <= 200


@pytest.mark.parametrize("q", POWERS)
def test_one_proximal_step_is_exact_where_tasks_have_one_curvature(q: float) -> None:
    """The pass that extrapolates first is the fifth; all before it change nothing after the first."""
    r = np.array([[3.0], [0.9], [-0.4], [0.1]])
    first, second = np.zeros((2, 4, 1)), np.zeros((2, 4, 1))
    for parts, passes in ((first, 1), (second, 3)):
        descend_gradients(
            parts, r.copy(), grams=np.ones((1, 1, 1)), r=r, square=30.0, ridge=0.0,
            terms=RowTerms(np.array([1.3]), np.array([q]), np.array([1.0])), passes=passes, target=0.0,
        )  # fmt: skip
    np.testing.assert_allclose(first, second, atol=1e-14)
    assert first[0].any()
    assert first[1].any()
