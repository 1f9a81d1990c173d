"""Quadratic penalties in turn end where splitting ends, in a few turns."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised import SpectralBox, SquaredRisk, TaskData, reweighting, solve
from taskloom.regularised._resolvent import Resolvent
from taskloom.regularised.reweighting import solve_by_reweighting
from taskloom.regularised.splitting import solve_by_splitting


def shared(n: int, d: int, *, n_tasks: int = 5, condition: float = 1e3) -> TaskData:
    generator = np.random.default_rng(n + d)
    X = generator.normal(size=(n, d)) * np.geomspace(1, 1 / condition, d)
    kinds = generator.normal(size=(d, 2)) * np.geomspace(1, condition, d)[:, None]
    Y = X @ kinds[:, np.arange(n_tasks) % 2] + 0.3 * generator.normal(size=(n, n_tasks))
    return TaskData((X,) * n_tasks, tuple(np.ascontiguousarray(Y.T)), (np.full(n, 1 / n),) * n_tasks)


def box(strength: float, mean: float | None) -> SpectralBox:
    low, high = 1 / (30 * strength), 1 / strength
    return SpectralBox(low, high, 5 * low + 1.5 * (high - low), None if mean is None else mean * strength)


@pytest.mark.parametrize("mean", [None, 0.1], ids=["without_mean", "with_mean"])
@pytest.mark.parametrize("strength", [1e-3, 1e-1, 1.0])
@pytest.mark.parametrize(("n", "d"), [(60, 12), (15, 40), (30, 3)])
def test_as_splitting(mean: float | None, strength: float, n: int, d: int) -> None:
    problem = SquaredRisk(shared(n, d, condition=10.0)).least_squares
    zeros, penalty = (np.zeros((d, 5)),), box(strength, mean)
    target = 1e-9 * problem.square
    turns = solve_by_reweighting(problem, penalty, resolvent=Resolvent(problem), start=zeros, target=target)
    split = solve_by_splitting(problem, penalty, start=zeros, target=target, max_iterations=10_000)
    assert -1e-13 * problem.square <= turns.gap <= target
    assert turns.objective == pytest.approx(split.objective, abs=2 * target)
    np.testing.assert_allclose(turns.parts[0], split.parts[0], atol=2e-3 * np.abs(split.parts[0]).max())


@pytest.mark.parametrize("mean", [None, 0.1], ids=["without_mean", "with_mean"])
def test_the_precision_is_the_smallest_penalty(mean: float | None) -> None:
    penalty, generator = box(0.3, mean), np.random.default_rng(0)
    for A in (generator.normal(size=(7, 5)), generator.normal(size=(2, 5)), np.zeros((4, 5)), np.ones((4, 5))):
        Q = penalty.precision(A)
        np.testing.assert_allclose(Q, Q.T, atol=1e-13)
        assert np.vdot(A, A @ Q) / 2 == pytest.approx(penalty.value(A), abs=1e-12)
        other = generator.normal(size=A.shape)
        assert np.vdot(other, other @ Q) / 2 >= penalty.value(other) - 1e-12


def test_condition_costs_no_turns() -> None:
    for n, d in ((60, 12), (15, 40)):
        solution = solve(SquaredRisk(shared(n, d, condition=1e4)), box(1e-4, 0.1), tol=1e-6)
        assert solution.converged
        assert solution.n_iterations <= 20


def test_splitting_goes_on_where_turns_do_not_reach_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reweighting, "_MOST_TURNS", 1)
    for n, d in ((30, 8), (8, 30)):
        solution = solve(SquaredRisk(shared(n, d, condition=10.0)), box(0.3, 0.1), tol=1e-8)
        assert solution.converged
        assert solution.n_iterations > 1
