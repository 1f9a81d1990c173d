"""Coordinate descent on single rows: rows in two parts end where no direction helps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.solvers.row_descent import RowTerms, descend_gradients, descend_residuals

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
    parts, gradients = np.zeros((2, 1, len(r))), r.copy()
    square = 2 * float((r[:, 0] ** 2 / curvatures).sum()) + 1.0
    made, gap = descend_gradients(
        parts, gradients, grams=curvatures[:, None, None], r=r, square=square, ridge=0.0,
        terms=RowTerms(np.array([strength]), np.array([q]), np.array([entry])), passes=200, target=1e-12 * square,
    )  # fmt: skip
    shared, own, g = parts[0, 0], parts[1, 0], r[:, 0] - curvatures * parts.sum(axis=0)[0]
    np.testing.assert_allclose(gradients[:, 0], g, atol=1e-12 * square)
    rounding = 1e-5 * (1 + np.abs(r).max())
    length = norms(shared, q)[0]
    assert norms(g, q)[1] <= strength + rounding
    assert np.abs(g).max() <= entry + rounding
    assert g @ shared == pytest.approx(strength * length, abs=rounding * (1 + length))
    assert g @ own == pytest.approx(entry * np.abs(own).sum(), abs=rounding * (1 + np.abs(own).sum()))
    assert gap <= 1e-12 * square
    assert made <= 10


@pytest.mark.parametrize("q", POWERS)
def test_one_pass_over_one_row_is_enough(q: float) -> None:
    """The pass that extrapolates first is the fifth; all before it change nothing after the first."""
    r = np.array([[3.0], [0.9], [-0.4], [0.1]])
    first, second = np.zeros((2, 1, 4)), np.zeros((2, 1, 4))
    for parts, passes in ((first, 1), (second, 3)):
        descend_gradients(
            parts, r.copy(), grams=np.ones((1, 1, 1)), r=r, square=30.0, ridge=0.0,
            terms=RowTerms(np.array([1.3]), np.array([q]), np.array([1.0])), passes=passes, target=0.0,
        )  # fmt: skip
    np.testing.assert_allclose(first, second, atol=1e-14)
    assert first[0].any()
    assert first[1].any()


@pytest.mark.parametrize("is_shared", [True, False], ids=["one_design", "own_designs"])
@pytest.mark.parametrize(
    ("m", "n", "n_tasks", "q", "entry", "ridge"),
    [
        (19, 30, 3, 2.0, 0.0, 0.0),
        (16, 1, 2, 2.0, 0.0, 0.0),
        (9, 7, 3, 2.0, 0.0, 0.2),
        (8, 5, 4, 2.0, 0.0, 0.3),
        (3, 12, 1, 2.0, 0.0, 0.0),
        (21, 9, 2, np.inf, 0.0, 0.0),
        (21, 9, 2, 1.5, 0.0, 0.1),
        (21, 30, 5, 2.0, 0.1, 0.0),
        (10, 30, 3, np.inf, 0.1, 0.0),
    ],
)
def test_residuals_and_gram_matrices_lead_to_the_same_minimum(
    m: int, n: int, n_tasks: int, q: float, entry: float, ridge: float, is_shared: bool
) -> None:
    """Blocks of columns that are full and not, and sets of all sizes: what ends up in the state is what it says."""
    random = np.random.default_rng([m, n, n_tasks])
    designs = random.normal(size=(1 if is_shared else n_tasks, n, m))
    targets = random.normal(size=(n_tasks, n))
    each = np.broadcast_to(designs, (n_tasks, n, m))
    scales = np.full(n_tasks, 1 / n) if is_shared else np.linspace(0.0 if n_tasks > 2 else 0.5, 2.0, n_tasks) / n
    r = scales[:, None] * np.einsum("tnm,tn->tm", each, targets)
    strength = 0.2 * np.linalg.norm(r, axis=0, ord=1 if q == np.inf else 2).max()
    strengths = np.where((np.arange(m) == 1) & (ridge > 0), 0.0, strength)  # a row with a ridge alone
    terms = RowTerms(strengths, np.full(m, q), np.full(m, strength * entry * 5) if entry else None)
    square = float(scales @ (targets**2).sum(axis=1))
    shape = (2 if entry else 1, m, n_tasks)

    parts, residuals = np.zeros(shape), targets.ravel().copy()
    _, gap = descend_residuals(
        parts, residuals, columns=np.ascontiguousarray(np.concatenate(designs).T), lengths=np.full(n_tasks, n),
        scales=scales, ridge=ridge, terms=terms, passes=2000, target=1e-10 * square,
    )  # fmt: skip
    others, gradients = np.zeros(shape), r.copy()
    grams = scales[: len(designs), None, None] * np.einsum("tnm,tnk->tmk", designs, designs) + ridge * np.eye(m)
    _, other_gap = descend_gradients(
        others, gradients, grams=grams, r=r, square=square, ridge=ridge, terms=terms, passes=2000, target=1e-10 * square
    )

    if is_shared:
        np.testing.assert_allclose(
            residuals, (targets - np.einsum("tnm,mt->tn", each, parts.sum(axis=0))).ravel(), atol=1e-11
        )
    np.testing.assert_allclose(
        gradients, r - np.einsum("tmk,kt->tm", np.broadcast_to(grams, (n_tasks, m, m)), others.sum(axis=0)), atol=1e-11
    )
    assert max(gap, other_gap) <= 1e-10 * square

    def objective(x: np.ndarray) -> float:
        rest = targets - np.einsum("tnm,mt->tn", each, x.sum(axis=0))
        norms = strengths @ np.linalg.norm(x[0], axis=1, ord=q) + 5 * strength * entry * np.abs(x[1:]).sum()
        return float(scales @ (rest**2).sum(axis=1) / 2 + ridge * (x[0] ** 2).sum() / 2 + norms)

    assert parts.any()
    assert objective(parts) == pytest.approx(objective(others), abs=2e-10 * square)


@pytest.mark.parametrize("n_features", [3, 8, 9])
def test_tasks_without_samples_leave_rows_at_0(n_features: int) -> None:
    parts = np.ones((1, n_features, 2))
    made, gap = descend_residuals(
        parts, np.zeros(0), columns=np.zeros((n_features, 0)), lengths=np.zeros(2, dtype=np.int64), scales=np.zeros(2),
        ridge=0.0, terms=RowTerms(np.ones(n_features), np.full(n_features, 2.0)), passes=20, target=0.0,
    )  # fmt: skip
    assert (made, gap) == (5, 0.0)
    assert not parts.any()


@settings(max_examples=60, deadline=None)
@given(values=SIZES, strength=st.floats(-9, 1.3).map(lambda x: 10**x), spread=st.floats(1.0, 1e4))
def test_a_row_of_several_curvatures_is_at_its_minimum_after_one_pass(
    values: list[float], strength: float, spread: float
) -> None:
    r = np.array(values)[:, None]
    curvatures = np.geomspace(1.0, spread, len(r))
    parts = np.full((1, 1, len(r)), 0.3)
    descend_gradients(
        parts, r - (curvatures * 0.3)[:, None], grams=curvatures[:, None, None], r=r, square=0.0, ridge=0.0,
        terms=RowTerms(np.array([strength]), np.array([2.0])), passes=1, target=0.0,
    )  # fmt: skip
    x = parts[0, 0]
    g, length = r[:, 0] - curvatures * x, float(np.linalg.norm(x))
    if np.linalg.norm(r) <= strength * (1 - 1e-12):
        assert not x.any()
    elif length > 0:
        np.testing.assert_allclose(g, strength * x / length, atol=1e-9 * (1 + np.abs(r).max()))
    else:
        assert np.linalg.norm(r) <= strength * (1 + 1e-12)
