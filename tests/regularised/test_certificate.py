"""Gaps that are never too small: no lower bound is above the optimum, whatever the point it is taken at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from taskloom.regularised import (
    ColumnNorm,
    EntryNorm,
    FusedRows,
    LogisticDual,
    LogisticRisk,
    PartSum,
    RowNorm,
    Solution,
    SparseGroup,
    SpectralBox,
    SquaredRisk,
    SquaredTrace,
    TaskCoupling,
    TaskData,
    Trace,
    TraceBall,
    lower_bound,
    solve,
    with_coupling,
    with_ridge,
)


def random_penalty(generator: np.random.Generator, *, d: int, T: int, is_logistic: bool) -> Any:
    """A feature that is not penalised may separate the classes: there is no solution then."""
    first = 0.1 if is_logistic else 0.0
    a, b, c = generator.exponential(size=3) * generator.choice([0.03, 0.3]) + 1e-3
    low = 0.1 + generator.random()
    choices = [
        EntryNorm(a),
        RowNorm(a, float(generator.choice([1.0, 1.5, 2.0, 4.0, np.inf]))),
        RowNorm(a, generator.choice([1.0, 2.0, 3.0, np.inf], size=d), 0.5 + generator.random(d)),
        RowNorm(a, 2.0, np.where(np.arange(d) == 0, first, 1.0)),
        with_ridge(RowNorm(a), b),
        with_ridge(RowNorm(a, np.inf, np.where(np.arange(d) == 0, first, 1.0)), b),
        ColumnNorm(a),
        SparseGroup(a, b),
        FusedRows(a, b, c),
        Trace(a),
        SquaredTrace(a),
        with_ridge(SquaredTrace(a), b),
        SpectralBox(low, 2 * low, 1.3 * low * T),
        SpectralBox(low, 2 * low, 1.3 * low * T, a),
        PartSum((RowNorm(1.5 * a, np.inf), EntryNorm(a))),
        PartSum((RowNorm(a), ColumnNorm(b))),
        PartSum((Trace(a), ColumnNorm(b))),
        PartSum((EntryNorm(a), Trace(b))),
        PartSum((EntryNorm(a), TraceBall(10 * b))),
        with_coupling(RowNorm(a), TaskCoupling.of_matrix(b * np.eye(T) + c * np.ones((T, T)))),
    ]
    return choices[int(generator.integers(len(choices)))]


def random_data(generator: np.random.Generator, *, d: int, T: int, is_logistic: bool) -> TaskData:
    sizes = generator.integers(2, 13, size=T)
    designs = [generator.normal(size=(n, d)) + 2 * generator.normal(size=d) for n in sizes]
    if generator.random() < 0.3:
        designs = [designs[0]] * T
    truth = generator.normal(size=(d, T))
    targets = []
    for t, X in enumerate(designs):
        y = X @ truth[:, t] + generator.normal(size=len(X)) + generator.normal()
        if is_logistic:
            y = np.where(y > np.median(y), 1.0, -1.0)
            y[0], y[1] = 1.0, -1.0
        targets.append(y)
    weights = [generator.choice([0.0, 0.05, 0.1, 0.3], size=len(y), p=[0.1, 0.3, 0.3, 0.3]) for y in targets]
    for w in weights:
        w[:2] = 0.1  # both classes count
    if generator.random() < 0.5:
        weights = [np.full(len(y), 0.1) for y in targets]
    return TaskData(tuple(designs), tuple(targets), tuple(weights), bool(generator.random() < 0.6))


def check_honesty(seed: int) -> None:
    """Loose, tight and stopped solutions, and bounds at random coefficients, against an accurate solution."""
    generator = np.random.default_rng(seed)
    d, T = int(generator.integers(1, 9)), int(generator.integers(1, 5))
    is_logistic = bool(generator.random() < 0.4)
    data = random_data(generator, d=d, T=T, is_logistic=is_logistic)
    penalty = random_penalty(generator, d=d, T=T, is_logistic=is_logistic)
    risk = LogisticRisk(data) if is_logistic else SquaredRisk(data)
    at_zero = risk.at(np.zeros((d, T))).loss
    best = solve(risk, penalty, tol=1e-11, max_iterations=50_000)
    assert best.gap <= 1e-7 * at_zero, f"{penalty}: {best.gap / at_zero}"
    rounding = 1e-12 * at_zero
    assert best.gap >= -rounding
    stopped = [solve(risk, penalty, tol=tol) for tol in (0.3, 1e-2, 1e-4)]
    stopped += [solve(risk, penalty, tol=1e-12, max_iterations=steps) for steps in (1, 7)]
    for solution in stopped:
        assert solution.gap >= -rounding, penalty
        assert solution.objective >= best.objective - best.gap - rounding, penalty
        assert solution.objective - solution.gap <= best.objective + rounding, penalty
        check_the_objective(data, penalty, solution, is_logistic)
    free = penalty.weights if isinstance(penalty, RowNorm) else None
    for size in (0.0, 0.1, 1.0):
        A = best.coefficients + size * generator.normal(size=(d, T))
        if free is None or np.all(free > 0):
            bound = lower_bound(risk.at(A).dual, penalty, A=A)
            assert bound <= best.objective + rounding, penalty


def check_the_objective(data: TaskData, penalty: Any, solution: Solution, is_logistic: bool) -> None:
    """The objective that is reported is that of the coefficients and intercepts that are returned."""
    A, total = solution.coefficients, 0.0
    for t, (X, y, w) in enumerate(zip(data.designs, data.targets, data.weights, strict=True)):
        eta = X @ A[:, t] + solution.intercepts[t]
        total += float(w @ (np.logaddexp(0, -y * eta) if is_logistic else (y - eta) ** 2 / 2))
    value = penalty.value_of(solution.parts) if isinstance(penalty, PartSum) else penalty.value(A)
    assert total + value == pytest.approx(solution.objective, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(60))
def test_gaps_are_honest(seed: int) -> None:
    check_honesty(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_gaps_are_honest_on_a_thousand_problems(block: int) -> None:
    for seed in range(1000 + 50 * block, 1050 + 50 * block):
        check_honesty(seed)


def test_a_class_that_pulls_more_is_scaled_down() -> None:
    """With an intercept every dual point has pulls that sum to 0, with shares between 0 and 1."""
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(30, 3)) + 5, np.where(np.arange(30) < 7, 1.0, -1.0)
    risk = LogisticRisk(TaskData((X,), (y,), (generator.random(30),)))
    dual = risk.at(generator.normal(size=(3, 1))).dual
    assert isinstance(dual, LogisticDual)
    u = dual.probabilities * dual.weights * y
    assert abs(u.sum()) <= 1e-15
    assert dual.probabilities.min() >= 0
    assert dual.probabilities.max() <= 1
    np.testing.assert_allclose(dual.G[:, 0], X.T @ u, atol=1e-13)


def test_outside_its_domain_a_dual_point_bounds_nothing() -> None:
    dual = LogisticDual(np.zeros((1, 1)), np.array([0.8]), np.ones(1))
    assert dual.data(1.5) == -np.inf
    unpenalised = RowNorm(1.0, weights=np.zeros(1))
    assert lower_bound(LogisticDual(np.ones((1, 1)), np.array([0.8]), np.ones(1)), unpenalised, A=np.zeros((1, 1))) <= 0
