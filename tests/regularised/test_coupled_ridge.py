from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.regularised.coupled_problem import problem

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled_ridge import is_definite_along, solve_coupled_ridge
from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling


def objective(data: TaskData, coupling: TaskCoupling, A: np.ndarray, b: np.ndarray) -> float:
    rest = coupling.value(A)
    for t, (X, y, w) in enumerate(zip(data.designs, data.targets, data.weights, strict=True)):
        rest += w @ (y - X @ A[:, t] - b[t]) ** 2 / 2
    return float(rest)


@pytest.mark.parametrize("shared_intercept", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_nothing_is_lower(fit_intercept: bool, shared_intercept: bool) -> None:
    data, coupling = problem(fit_intercept=fit_intercept)
    found = solve_coupled_ridge(data, coupling, shared_intercept=shared_intercept)
    assert found.converged
    assert 0 <= found.gap <= 1e-14
    A, b = found.coefficients, found.intercepts
    assert objective(data, coupling, A, b) == pytest.approx(found.objective, rel=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(30):
        step = 1e-3 * rng.normal(size=A.shape)
        shift = 1e-3 * rng.normal(size=1 if shared_intercept else 3) * (fit_intercept or shared_intercept)
        assert objective(data, coupling, A + step, b + shift) >= found.objective
    if shared_intercept:
        assert np.ptp(b) == 0


def test_the_gap_is_the_distance_or_more() -> None:
    """At any coefficients the objective minus the gap is below the minimum."""
    data, coupling = problem()
    best = solve_coupled_ridge(data, coupling)
    rows = Centred.of(data)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 100.0):
        A = best.coefficients + scale * rng.normal(size=best.coefficients.shape)
        value = objective(data, coupling, A, rows.intercepts(A))
        gap = coupling.conjugate(rows.descent(A) - coupling.times(A))
        assert value - gap <= best.objective + 1e-12


def test_a_task_without_samples_follows_the_others() -> None:
    data, coupling = problem()
    empty = replace(data, **{name: (getattr(data, name)[0][:0], *getattr(data, name)[1:]) for name in
                             ("designs", "targets", "weights")})  # fmt: skip
    found = solve_coupled_ridge(empty, coupling)
    # with B the inverse of Q, the best coefficients of task 0 given the others are a mixture of theirs
    expected = -found.coefficients[:, 1:] @ coupling.precision[1:, 0] / coupling.precision[0, 0]
    np.testing.assert_allclose(found.coefficients[:, 0], expected)
    assert found.intercepts[0] == 0
    assert found.gap <= 1e-14


def test_a_singular_coupling_that_the_data_complete() -> None:
    data, _ = problem()
    singular = TaskCoupling.of_matrix(np.eye(3) - np.full((3, 3), 1 / 3))
    assert is_definite_along(data, singular)
    found = solve_coupled_ridge(data, singular)
    assert found.gap <= 1e-13
    nearly = solve_coupled_ridge(data, singular.lifted(1e-9))
    np.testing.assert_allclose(found.coefficients, nearly.coefficients, atol=1e-6)


def test_a_singular_coupling_that_the_data_do_not_complete() -> None:
    data, _ = problem()
    few = replace(data, **{name: tuple(one[:1] for one in getattr(data, name)) for name in
                           ("designs", "targets", "weights")})  # fmt: skip
    assert not is_definite_along(few, TaskCoupling.of_matrix(np.eye(3) - np.full((3, 3), 1 / 3)))


def test_unconverged_conjugate_gradients_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskloom.regularised.coupled.choice.MOST_NUMBERS", 0)
    data, coupling = problem()
    stopped = solve_coupled_ridge(data, coupling, max_iterations=1, tol=1e-12)
    assert not stopped.converged
    best = solve_coupled_ridge(data, coupling)
    assert stopped.objective - stopped.gap <= best.objective <= stopped.objective
    warm = solve_coupled_ridge(data, coupling, start=best.coefficients)
    assert warm.gap <= 1e-12
