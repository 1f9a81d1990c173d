from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.sparse import csc_array

from taskloom.regularised.coupled_logistic import solve_coupled_logistic
from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

COUPLING = TaskCoupling.to_mean(3, alpha=0.1, coupling=4.0)
INTERCEPTS: Any = pytest.mark.parametrize(
    ("fit_intercept", "shared_intercept"),
    [(False, False), (True, False), (False, True)],
    ids=["none", "task", "shared"],
)


def problem(*, fit_intercept: bool, is_sparse: bool = False) -> TaskData:
    rng = np.random.default_rng(2)
    designs: tuple[Any, ...] = tuple(rng.normal(size=(n, 3)) for n in (12, 8, 15))
    if is_sparse:
        designs = tuple(csc_array(X * (rng.random(X.shape) < 0.6)) for X in designs)
    targets = tuple(np.where(rng.random(X.shape[0]) < 0.4, -1.0, 1.0) for X in designs)
    return TaskData(designs, targets, tuple(rng.uniform(0.02, 0.1, len(y)) for y in targets), fit_intercept)


def objective(data: TaskData, A: np.ndarray, b: np.ndarray) -> float:
    losses = [
        w @ np.logaddexp(0, -y * (X @ A[:, t] + b[t]))
        for t, (X, y, w) in enumerate(zip(data.designs, data.targets, data.weights, strict=True))
    ]
    return float(sum(losses) + COUPLING.value(A))


def best_by_scipy(data: TaskData, shared_intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    n_free = 1 if shared_intercept else 3 * data.fit_intercept

    def parts(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return point[:9].reshape(3, 3), np.resize(point[9:] if n_free else [0.0], 3)

    found = minimize(lambda point: objective(data, *parts(point)), np.zeros(9 + n_free), tol=1e-14)
    return parts(found.x)


@INTERCEPTS
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_the_minimum(fit_intercept: bool, shared_intercept: bool, is_sparse: bool) -> None:
    data = problem(fit_intercept=fit_intercept, is_sparse=is_sparse)
    found = solve_coupled_logistic(data, COUPLING, tol=1e-13, shared_intercept=shared_intercept)
    A, b = best_by_scipy(data, shared_intercept)
    assert found.converged
    assert abs(found.gap) <= 1e-13
    assert found.objective == pytest.approx(objective(data, found.coefficients, found.intercepts), rel=1e-13)
    assert found.objective - found.gap <= objective(data, A, b) + 1e-14
    np.testing.assert_allclose(found.coefficients, A, atol=1e-5)
    np.testing.assert_allclose(found.intercepts, b, atol=1e-5)


@INTERCEPTS
def test_the_gap_is_honest_after_every_step(fit_intercept: bool, shared_intercept: bool) -> None:
    data = problem(fit_intercept=fit_intercept)
    best = solve_coupled_logistic(data, COUPLING, tol=1e-14, shared_intercept=shared_intercept).objective
    for steps in (1, 2, 3):
        stopped = solve_coupled_logistic(
            data, COUPLING, tol=1e-16, max_iterations=steps, shared_intercept=shared_intercept
        )
        assert stopped.objective >= best - 1e-14
        assert stopped.objective - stopped.gap <= best + 1e-14


def test_separable_classes_and_large_features_do_not_overflow() -> None:
    X = np.array([[-1e3, 0.0], [-2e3, 1.0], [1e3, 0.0], [3e3, 1.0]])
    y, w = np.array([-1.0, -1.0, 1.0, 1.0]), np.full(4, 0.25)
    weak = TaskCoupling.of_matrix(1e-8 * np.eye(1))
    found = solve_coupled_logistic(TaskData((X,), (y,), (w,)), weak, tol=1e-9)
    assert found.converged
    assert np.isfinite(found.coefficients).all()


def test_a_warm_start_needs_fewer_steps() -> None:
    data = problem(fit_intercept=True)
    cold = solve_coupled_logistic(data, COUPLING, tol=1e-12)
    warm = solve_coupled_logistic(data, COUPLING, tol=1e-12, start=cold)
    assert (warm.n_iterations, cold.n_iterations > 1) == (1, True)
    np.testing.assert_allclose(warm.coefficients, cold.coefficients, atol=1e-10)
