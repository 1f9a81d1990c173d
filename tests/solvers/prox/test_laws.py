"""What every proximal operator and projection has to satisfy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.optimize

from taskloom.solvers.prox.groups import shrink_columns, shrink_rows, sparse_shrink_rows
from taskloom.solvers.prox.l1_ball import clip_rows, project_l1_ball
from taskloom.solvers.prox.powers import power_norms, shrink_rows_power
from taskloom.solvers.prox.rows import shrink_rows_norm
from taskloom.solvers.prox.singular_values import (
    project_trace_ball,
    shrink_singular_values,
    shrink_squared,
    singular_values,
)
from taskloom.solvers.prox.soft import soft_threshold
from taskloom.solvers.prox.spectral_box import shrink_in_box, weights_in_box
from taskloom.solvers.prox.two_norms import project_ball_and_box, shrink_rows_split
from taskloom.solvers.prox.variation import smooth_rows

ROWS, COLUMNS = 6, 5
MIXED = np.array([1.0, 1.3, 2.0, 3.0, np.inf, 2.0])


def box_value(V: np.ndarray) -> float:
    total = 0.0
    for s in V:
        theta = weights_in_box(np.abs(s), 0.0, low=0.2, high=1.0, total=2.5)
        total += float((s**2 / (2 * theta)).sum())
    return total


def in_box(V: np.ndarray, tau: float) -> np.ndarray:
    shrunk = [shrink_in_box(np.abs(s), tau, low=0.2, high=1.0, total=2.5) for s in V]
    return np.copysign(np.array(shrunk), V)


def split_value(V: np.ndarray) -> float:
    """2 ||p||_inf + ||r||_1 of the best split: per row, over the level at which p is cut off."""
    total = 0.0
    for v in V:
        levels = np.concatenate([[0.0], np.abs(v)])
        total += min(2 * level + np.maximum(np.abs(v) - level, 0).sum() for level in levels)
    return total


@dataclass(frozen=True)
class Operator:
    prox: Callable[[np.ndarray, float], np.ndarray]
    value: Callable[[np.ndarray], float]
    is_indicator: bool = False  # the operator is a projection whatever tau


OPERATORS = {
    "entries": Operator(soft_threshold, lambda A: float(np.abs(A).sum())),
    "rows": Operator(shrink_rows, lambda A: float(np.linalg.norm(A, axis=1).sum())),
    "columns": Operator(shrink_columns, lambda A: float(np.linalg.norm(A, axis=0).sum())),
    "sparse_rows": Operator(
        lambda V, tau: sparse_shrink_rows(V, tau, tau_entries=0.4 * tau),
        lambda A: float(np.linalg.norm(A, axis=1).sum() + 0.4 * np.abs(A).sum()),
    ),
    "largest": Operator(clip_rows, lambda A: float(np.abs(A).max(1).sum())),
    "power_1.5": Operator(lambda V, tau: shrink_rows_power(V, tau, q=1.5), lambda A: float(power_norms(A, 1.5).sum())),
    "power_3": Operator(lambda V, tau: shrink_rows_power(V, tau, q=3.0), lambda A: float(power_norms(A, 3.0).sum())),
    "mixed_powers": Operator(
        lambda V, tau: shrink_rows_norm(V, tau, q=MIXED), lambda A: float(power_norms(A, MIXED).sum())
    ),
    "trace": Operator(shrink_singular_values, lambda A: float(singular_values(A).sum())),
    "squared_trace": Operator(shrink_squared, lambda A: float(singular_values(A).sum()) ** 2 / 2),
    "variation": Operator(smooth_rows, lambda A: float(np.abs(np.diff(A, axis=1)).sum())),
    "box": Operator(in_box, box_value),
    "split": Operator(lambda V, tau: shrink_rows_split(V, 2 * tau, tau_entries=tau, q=np.inf), split_value),
    "l1_ball": Operator(
        lambda V, tau: project_l1_ball(V, 1.2),
        lambda A: 0.0 if np.abs(A).sum(1).max() <= 1.2 + 1e-9 else np.inf,
        is_indicator=True,
    ),
    "trace_ball": Operator(
        lambda V, tau: project_trace_ball(V, 2.0),
        lambda A: 0.0 if singular_values(A).sum() <= 2 + 1e-9 else np.inf,
        is_indicator=True,
    ),
    "ball_and_box": Operator(
        lambda V, tau: project_ball_and_box(V, 1.5, side=0.6),
        lambda A: 0.0 if np.abs(A).sum(1).max() <= 1.5 + 1e-9 and np.abs(A).max() <= 0.6 + 1e-9 else np.inf,
        is_indicator=True,
    ),
}
EACH = pytest.mark.parametrize("name", sorted(OPERATORS))
TAUS = (1e-3, 0.3, 1.0, 2.5)


def points(seed: int, n: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, ROWS, COLUMNS)) * generator.choice([0.1, 1.0, 3.0], size=(n, ROWS, 1))


@EACH
def test_no_perturbation_is_better(name: str) -> None:
    operator, generator = OPERATORS[name], np.random.default_rng(1)

    def objective(A: np.ndarray, V: np.ndarray, tau: float) -> float:
        return ((A - V) ** 2).sum() / 2 + tau * operator.value(A)

    for V, tau in zip(points(2, len(TAUS)), TAUS, strict=True):
        A = operator.prox(V, tau)
        best = objective(A, V, tau)
        assert np.isfinite(best)
        for size in np.logspace(-7, 0, 50):
            assert objective(A + size * generator.normal(size=A.shape), V, tau) >= best - 1e-12 * max(best, 1)
            assert objective(A * (1 - size), V, tau) >= best - 1e-12 * max(best, 1)


@EACH
def test_firmly_nonexpansive(name: str) -> None:
    prox = OPERATORS[name].prox
    for first, second in zip(points(3, 20), points(4, 20), strict=True):
        moved, given = prox(first, 0.5) - prox(second, 0.5), first - second
        assert (moved**2).sum() <= (moved * given).sum() + 1e-12


@EACH
def test_zero_stays_zero_and_no_penalty_changes_nothing(name: str) -> None:
    operator = OPERATORS[name]
    zeros = np.zeros((ROWS, COLUMNS))
    assert np.array_equal(operator.prox(zeros, 1.0), zeros)
    if not operator.is_indicator:
        V = points(5, 1)[0]
        np.testing.assert_allclose(operator.prox(V, 0.0), V, atol=1e-14)


@EACH
def test_given_arrays_are_not_changed(name: str) -> None:
    V = points(6, 1)[0]
    kept = V.copy()
    V.setflags(write=False)
    result = OPERATORS[name].prox(V, 0.7)
    assert result.shape == V.shape
    assert np.array_equal(V, kept)
    np.testing.assert_allclose(OPERATORS[name].prox(np.asfortranarray(V), 0.7), result, atol=1e-13)


DUAL_BALLS = {
    "entries": lambda V, tau: np.clip(V, -tau, tau),
    "rows": lambda V, tau: V * np.minimum(1, tau / np.linalg.norm(V, axis=1, keepdims=True)),
    "columns": lambda V, tau: V * np.minimum(1, tau / np.linalg.norm(V, axis=0)),
    "largest": lambda V, tau: project_l1_ball(V, tau),
    "split": lambda V, tau: project_ball_and_box(V, 2 * tau, side=tau),
}


@pytest.mark.parametrize("name", sorted(DUAL_BALLS))
def test_moreau_identity(name: str) -> None:
    for V, tau in zip(points(7, len(TAUS)), TAUS, strict=True):
        np.testing.assert_allclose(OPERATORS[name].prox(V, tau) + DUAL_BALLS[name](V, tau), V, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("q", [1.1, 1.5, 3.0, 10.0])
def test_moreau_identity_of_powers(q: float) -> None:
    """The rest v - prox(v) lies on the ball of the dual norm and makes the inequality of Hölder an equality."""
    for V, tau in zip(points(8, len(TAUS)), TAUS, strict=True):
        A = shrink_rows_power(V, tau, q=q)
        rest = V - A
        inside = power_norms(V, q / (q - 1)) <= tau
        assert np.array_equal(~inside, A.any(1))
        np.testing.assert_allclose(power_norms(rest[~inside], q / (q - 1)), tau, rtol=1e-10)
        np.testing.assert_allclose((rest * A).sum(1), tau * power_norms(A, q), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("q", "limit"),
    [(1 + 1e-6, soft_threshold), (2 + 1e-9, shrink_rows), (2 - 1e-9, shrink_rows), (1e3, clip_rows)],
    ids=["one", "two", "two_from_below", "infinity"],
)
def test_limits_of_powers(q: float, limit: Callable[[np.ndarray, float], np.ndarray]) -> None:
    tolerance = (
        1e-2 if q == 1e3 else 1e-4
    )  # at finite q, entries that the limit clips to one size differ by about log / q
    for V, tau in zip(points(9, len(TAUS)), TAUS, strict=True):
        np.testing.assert_allclose(shrink_rows_power(V, tau, q=q), limit(V, tau), atol=tolerance)


def test_powers_at_every_scale() -> None:
    V = points(10, 1)[0]
    for q in (1.2, 4.0):
        usual = shrink_rows_power(V, 0.5, q=q)
        for scale in (1e-150, 1e-9, 1e9, 1e150):
            np.testing.assert_allclose(shrink_rows_power(scale * V, scale * 0.5, q=q), scale * usual, rtol=1e-11)


def test_powers_at_the_edge_of_zero() -> None:
    V = np.array([[1.0, -2.0, 0.0, 1e-12]])
    for q in (1.01, 1.5, 3.0, 50.0):
        edge = float(power_norms(V, q / (q - 1))[0])
        assert not shrink_rows_power(V, edge * (1 + 1e-12), q=q).any()
        just = shrink_rows_power(V, edge * (1 - 1e-6), q=q)
        assert 0 < np.abs(just).max() < 0.1


def test_trace_of_tall_matrices_by_both_ways() -> None:
    generator = np.random.default_rng(11)
    tall = generator.normal(size=(60, 4)) * np.array([1.0, 1e-3, 1e-9, 0.0])
    for tau in (0.0, 1e-12, 1e-4, 0.5):
        left, values, right = np.linalg.svd(tall, full_matrices=False)
        expected = (left * np.maximum(values - tau, 0)) @ right
        np.testing.assert_allclose(shrink_singular_values(tall, tau), expected, atol=1e-13)
        np.testing.assert_allclose(shrink_singular_values(tall.T, tau), expected.T, atol=1e-13)


def test_rank_falls_exactly() -> None:
    V = points(12, 1)[0]
    tau = singular_values(V)[2]
    assert np.linalg.matrix_rank(shrink_singular_values(V, tau), tol=1e-10) == 2


def test_variation_against_a_program_solver() -> None:
    """The dual is a least squares problem in a box."""
    generator = np.random.default_rng(13)
    for n in (2, 3, 9, 30):
        v, tau = generator.normal(size=n).cumsum(), 0.8
        differences = np.diff(np.eye(n), axis=0)
        dual = scipy.optimize.lsq_linear(differences.T, v, bounds=(-tau, tau), method="bvls", tol=1e-15)
        np.testing.assert_allclose(smooth_rows(v[None], tau)[0], v - differences.T @ dual.x, atol=1e-10)


def test_variation_with_equal_entries_and_strong_penalty() -> None:
    V = np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 1.0, 0.0, 1.0], [5.0, -5.0, 5.0, -5.0]])
    np.testing.assert_allclose(smooth_rows(V, 100.0), np.repeat(V.mean(1, keepdims=True), 4, axis=1), atol=1e-13)
    np.testing.assert_allclose(smooth_rows(V[:1], 0.3), V[:1], rtol=1e-15)
    assert np.array_equal(smooth_rows(V[:, :1], 1.0), V[:, :1])


def test_box_weights_sum_and_stay_inside() -> None:
    generator = np.random.default_rng(14)
    for _ in range(200):
        n = int(generator.integers(1, 8))
        s = np.sort(generator.exponential(size=n) * (generator.random(n) > 0.3))[::-1]
        low, high = 0.1, 0.1 + generator.exponential()
        total = n * low + generator.random() * n * (high - low)
        theta = weights_in_box(s, generator.choice([0.0, 0.5]), low=low, high=high, total=total)
        assert abs(theta.sum() - total) <= 1e-12 * total
        assert theta.min() >= low * (1 - 1e-14)
        assert theta.max() <= high * (1 + 1e-12)
        assert np.all(np.diff(theta) <= 1e-12)  # larger values get larger weights


def test_split_by_dykstra_agrees_with_parts() -> None:
    """At the optimum the rest is in both balls, and the price is paid by each part."""
    for V in points(15, 3):
        A = shrink_rows_split(V, 1.5, tau_entries=1.0, q=2.0)
        rest = V - A
        assert np.linalg.norm(rest, axis=1).max() <= 1.5 * (1 + 1e-9)
        assert np.abs(rest).max() <= 1.0 + 1e-12
        closer = shrink_rows(soft_threshold(V, 0.0), 1.5)
        for other in (closer, soft_threshold(V, 1.0)):  # feasible rests of other splits are not nearer
            feasible = V - other
            inside = (np.linalg.norm(feasible, axis=1) <= 1.5 + 1e-9) & (np.abs(feasible).max(1) <= 1 + 1e-9)
            assert np.all((A**2).sum(1)[inside] <= (other**2).sum(1)[inside] + 1e-9)
