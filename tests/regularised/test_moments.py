from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised import (
    MomentRisk,
    Moments,
    PartSum,
    RowNorm,
    SquaredRisk,
    TaskData,
    Trace,
    largest_alpha,
    solve,
)
from taskloom.regularised.penalties.entry import EntryNorm

RNG = np.random.default_rng(2)
N, D, T = 50, 6, 3


def data_of(form: str, *, fit_intercept: bool = True) -> TaskData:
    X = RNG.normal(size=(N, D)) + 3
    targets = tuple(X[:, 0] * (t + 1) + RNG.normal(size=N) + 5 for t in range(T))
    weights = RNG.choice([0.01, 0.02], size=N) if form == "weighted" else np.full(N, 1 / N)
    if form == "shared":
        return TaskData((X,) * T, targets, (weights,) * T, fit_intercept)
    sizes = (20, 50, 31)
    cut = [(X[:n].copy(), y[:n], weights[:n]) for n, y in zip(sizes, targets, strict=True)]
    designs, targets, weights_by_task = zip(*cut, strict=True)
    return TaskData(designs, targets, weights_by_task, fit_intercept)


def taking(data: TaskData, masks: list[np.ndarray]) -> TaskData:
    designs = tuple(X[mask] for X, mask in zip(data.designs, masks, strict=True))
    targets = tuple(y[mask] for y, mask in zip(data.targets, masks, strict=True))
    weights = tuple(w[mask] for w, mask in zip(data.weights, masks, strict=True))
    return TaskData(designs[:1] * T if data.is_shared else designs, targets, weights, data.fit_intercept)


EACH = pytest.mark.parametrize("form", ["shared", "ragged", "weighted"])


@EACH
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_same_risk_as_from_the_data(form: str, fit_intercept: bool) -> None:
    data = data_of(form, fit_intercept=fit_intercept)
    by_data, by_moments = SquaredRisk(data), MomentRisk(Moments.of(data), fit_intercept)
    A = RNG.normal(size=(D, T))
    for free in (np.zeros(0, dtype=np.intp), np.array([1, 4])):
        A[free] = 0
        one, other = by_data.without(free).at(A), by_moments.without(free).at(A)
        assert other.loss == pytest.approx(one.loss, rel=1e-11)
        np.testing.assert_allclose(other.dual.G, one.dual.G, atol=1e-11)
        completed = by_moments.without(free).complete(A, near=np.zeros((D, T)))
        np.testing.assert_allclose(completed, by_data.without(free).complete(A, near=np.zeros((D, T))), atol=1e-10)
        np.testing.assert_allclose(by_moments.intercepts(completed), by_data.intercepts(completed), atol=1e-10)


@EACH
def test_what_is_left_without_some_samples(form: str) -> None:
    data = data_of(form)
    masks = [np.arange(len(y)) % 4 != 0 for y in data.targets]
    parts = [taking(data, masks), taking(data, [~mask for mask in masks])]
    left = Moments.of(data) - Moments.of(parts[1])
    factors = np.array([1.0, 2.0, 3.0])
    weighted = TaskData(
        parts[0].designs, parts[0].targets, tuple(f * w for f, w in zip(factors, parts[0].weights, strict=True))
    )
    for moments, training in ((left, parts[0]), (left.times(factors), weighted)):
        for penalty in (RowNorm(0.05), EntryNorm(0.05), Trace(0.1), PartSum((RowNorm(0.1), EntryNorm(0.07)))):
            one, other = (solve(risk, penalty, tol=1e-9) for risk in (MomentRisk(moments), SquaredRisk(training)))
            assert one.converged
            assert one.objective == pytest.approx(other.objective, rel=1e-8)
            np.testing.assert_allclose(one.intercepts, other.intercepts, atol=1e-3)
        assert largest_alpha(MomentRisk(moments), RowNorm(1.0)) == pytest.approx(
            largest_alpha(SquaredRisk(training), RowNorm(1.0)), rel=1e-10
        )


def test_constant_features_are_rounding() -> None:
    data = data_of("ragged")
    for X in data.designs:
        X[:, 2] = 0.1
    solution = solve(MomentRisk(Moments.of(data)), RowNorm(0.01))
    assert not solution.coefficients[2].any()
