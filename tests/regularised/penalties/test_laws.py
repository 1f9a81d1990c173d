"""What every penalty has to satisfy: its value, proximal operator, conjugate and thresholds belong together."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised import (
    ColumnNorm,
    EntryNorm,
    FusedRows,
    PartSum,
    Penalty,
    RowGroups,
    RowNorm,
    SparseGroup,
    SpectralBox,
    SquaredTrace,
    Trace,
    TraceBall,
    with_ridge,
)
from taskloom.regularised.penalties.base import RowSeparable

D, T = 6, 4
POWERS = np.array([1.0, 1.5, 2.0, 3.0, np.inf, 2.0])
WEIGHTS = np.array([1.0, 0.5, 2.0, 1.0, 3.0, 1.5])

PENALTIES: dict[str, Penalty] = {
    "entries": EntryNorm(0.7),
    "rows": RowNorm(0.7),
    "rows_largest": RowNorm(0.7, np.inf),
    "rows_3": RowNorm(0.7, 3.0),
    "rows_weighted": RowNorm(0.7, POWERS, WEIGHTS),
    "groups": RowGroups(0.7, np.array([0, 1, 0, 2, 1, 0]), np.array([2.0, np.inf, 3.0]), np.array([1.0, 2.0, 0.5])),
    "groups_of_equal_size": RowGroups(0.7, np.array([0, 1, 0, 2, 1, 2])),
    "columns": ColumnNorm(0.7),
    "sparse_group": SparseGroup(0.4, 0.9),
    "sparse_group_of_entries": SparseGroup(0.4, 0.0),
    "sparse_group_of_rows": SparseGroup(0.0, 0.9),
    "fused": FusedRows(0.2, 0.5, 0.3),
    "fused_and_rows": FusedRows(0.0, 0.5, 0.3),
    "trace": Trace(0.7),
    "squared_trace": SquaredTrace(0.7),
    "ball": TraceBall(1.5),
    "box": SpectralBox(0.5, 2.0, 3.5),
    "box_beside_mean": SpectralBox(0.5, 2.0, 3.5, 0.3),
    "elastic": with_ridge(RowNorm(0.7), 0.4),
    "elastic_trace": with_ridge(SquaredTrace(0.7), 0.4),
}
EACH = pytest.mark.parametrize("name", sorted(PENALTIES))
NORMS = [name for name in PENALTIES if name not in ("squared_trace", "ball", "box", "box_beside_mean", "elastic_trace")]


def points(seed: int, n: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, D, T)) * generator.choice([0.2, 1.0, 4.0], size=(n, D, 1))


@EACH
def test_value_and_conjugate_meet_at_the_proximal_point(name: str) -> None:
    """The rest of a proximal step is a subgradient: there the inequality of Fenchel and Young is an equality."""
    penalty = PENALTIES[name]
    for V in points(1, 8):
        for step in (0.3, 1.0, 2.0):
            P = penalty.prox(V, step)
            G = (V - P) / step
            assert penalty.gauge(G) <= 1 + 1e-9
            meeting = float(np.vdot(G, P))
            assert penalty.value(P) + penalty.conjugate(G) == pytest.approx(meeting, rel=1e-8, abs=1e-9)


@EACH
def test_no_pair_of_points_is_below_the_inequality(name: str) -> None:
    penalty = PENALTIES[name]
    for A, G in zip(points(2, 20), points(3, 20), strict=True):
        inside = G / max(penalty.gauge(G), 1.0) if penalty.gauge(G) > 0 else G
        for size in (0.01, 1.0):
            assert penalty.value(size * A) + penalty.conjugate(inside) >= size * np.vdot(A, inside) - 1e-9


@EACH
def test_zero_costs_nothing_and_stays(name: str) -> None:
    penalty, zeros = PENALTIES[name], np.zeros((D, T))
    assert penalty.value(zeros) == 0
    assert not penalty.prox(zeros, 1.0).any()
    assert penalty.threshold(zeros) == 0
    assert penalty.conjugate(zeros) == 0


@pytest.mark.parametrize("name", sorted(NORMS))
def test_threshold_is_where_the_proximal_point_becomes_zero(name: str) -> None:
    """Multiplying the penalty by s is a step of s for all of them but the ridge, which changes no threshold."""
    penalty = PENALTIES[name]
    for G in points(4, 8):
        s = penalty.threshold(G)
        assert not penalty.prox(G, s * (1 + 1e-9)).any()
        assert penalty.prox(G, s * (1 - 1e-6)).any()


@pytest.mark.parametrize("name", [name for name in sorted(PENALTIES) if isinstance(PENALTIES[name], RowSeparable)])
def test_rows_are_penalties_of_their_own(name: str) -> None:
    penalty = PENALTIES[name]
    assert isinstance(penalty, RowSeparable)
    chosen = np.array([4, 1, 5])
    A = points(5, 1)[0]
    some = penalty.rows(chosen)
    np.testing.assert_allclose(some.prox(A[chosen], 0.6), penalty.prox(A, 0.6)[chosen], atol=1e-14)
    np.testing.assert_allclose(some.row_thresholds(A[chosen]), penalty.row_thresholds(A)[chosen], rtol=1e-12)
    assert penalty.row_thresholds(A).max() == pytest.approx(penalty.threshold(A), rel=1e-12)
    each = sum(penalty.rows(np.array([j])).value(A[[j]]) for j in range(D))
    assert each == pytest.approx(penalty.value(A), rel=1e-12)


def test_sums_over_parts() -> None:
    dirty = PartSum((RowNorm(1.5, np.inf), EntryNorm(1.0)))
    first, second = points(6, 2)
    assert dirty.value_of((first, second)) == pytest.approx(1.5 * np.abs(first).max(1).sum() + np.abs(second).sum())
    expected = max(np.abs(first).sum(1).max() / 1.5, np.abs(first).max())
    assert dirty.gauge(first) == dirty.threshold(first) == pytest.approx(expected)
    assert dirty.conjugate(first) == 0


def test_unpenalised_rows_have_no_threshold() -> None:
    penalty = RowNorm(1.0, weights=np.array([0.0, 1.0]))
    thresholds = penalty.row_thresholds(np.array([[1.0, 1.0], [3.0, 4.0]]))
    assert thresholds.tolist() == [np.inf, 5.0]
    assert penalty.row_thresholds(np.zeros((2, 2))).tolist() == [0.0, 0.0]


def test_the_box_is_the_best_quadratic_of_its_covariances() -> None:
    """No covariance with the same bounds and trace gives a smaller penalty."""
    generator = np.random.default_rng(7)
    A = points(8, 1)[0]
    penalty = SpectralBox(0.5, 2.0, 3.5)
    best = penalty.value(A)
    for _ in range(200):
        basis = np.linalg.qr(generator.normal(size=(T, T)))[0]
        shares = generator.dirichlet(np.ones(T)) * (3.5 - T * 0.5) + 0.5
        if shares.max() <= 2.0:
            covariance = (basis * shares) @ basis.T
            assert np.trace(A @ np.linalg.inv(covariance) @ A.T) / 2 >= best - 1e-10


def test_one_weight_for_all_is_a_ridge() -> None:
    """Bounds that meet leave no choice; without the mean it is a ridge of strength 1 / low."""
    A = points(9, 1)[0]
    assert SpectralBox(0.5, 0.5, 0.5 * T).value(A) == pytest.approx((A**2).sum(), rel=1e-12)
    np.testing.assert_allclose(SpectralBox(0.5, 0.5, 0.5 * T).prox(A, 1.0), A / 3, rtol=1e-12)
