from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled_ridge import (
    generalised_errors,
    is_definite_along,
    leave_one_out,
    solve_coupled_ridge,
)
from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling


def problem(**changes: Any) -> tuple[TaskData, TaskCoupling]:
    rng = np.random.default_rng(4)
    designs = tuple(rng.normal(size=(n, 4)) + 1 for n in (8, 5, 11))
    targets = tuple(rng.normal(size=len(X)) for X in designs)
    weights = tuple(rng.uniform(0.05, 0.2, size=len(X)) for X in designs)
    data = replace(TaskData(designs, targets, weights), **changes)
    return data, TaskCoupling.to_mean(3, alpha=0.2, coupling=4.0)


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


def without(data: TaskData, task: int, sample: int) -> TaskData:
    weights = [one.copy() for one in data.weights]
    weights[task][sample] = 0.0
    return replace(data, weights=tuple(weights))


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_leave_one_out_is_leaving_one_out(fit_intercept: bool) -> None:
    data, coupling = problem(fit_intercept=fit_intercept)
    errors = leave_one_out(Centred.of(data), coupling)
    for task, sample in ((0, 0), (1, 4), (2, 7)):
        fit = solve_coupled_ridge(without(data, task, sample), coupling)
        predicted = data.designs[task][sample] @ fit.coefficients[:, task] + fit.intercepts[task]
        assert errors[task][sample] == pytest.approx(data.targets[task][sample] - predicted)


@pytest.mark.parametrize("errors", [leave_one_out, generalised_errors])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n_features", [3, 15])
def test_shared_rows_are_left_out_of_all_tasks(errors: Any, fit_intercept: bool, n_features: int) -> None:
    rng = np.random.default_rng(1)
    X, Y, w = rng.normal(size=(9, n_features)) + 1, rng.normal(size=(3, 9)), rng.uniform(0.05, 0.2, size=9)
    data = TaskData((X,) * 3, tuple(Y), (w,) * 3, fit_intercept)
    clusters = TaskCoupling.to_clusters(np.array([0, 0, 1]), mean=0.1, between=0.3, within=2.0)
    for coupling in (TaskCoupling.to_mean(3, alpha=0.2, coupling=4.0), clusters):
        found = errors(Centred.of(data), coupling)
        if errors is leave_one_out:
            for row in (0, 4):
                kept = np.arange(9) != row
                fit = solve_coupled_ridge(
                    TaskData((X[kept],) * 3, tuple(Y[:, kept]), (w[kept],) * 3, fit_intercept), coupling
                )
                predicted = X[row] @ fit.coefficients + fit.intercepts
                np.testing.assert_allclose([own[row] for own in found], Y[:, row] - predicted)
        twice = TaskData((np.repeat(X, 2, axis=0),) * 3, tuple(np.repeat(Y, 2, axis=1)), (np.repeat(w, 2),) * 3,
                         fit_intercept)  # fmt: skip
        doubled = replace(data, weights=(2 * w,) * 3)
        of_copies = errors(Centred.of(doubled), coupling, copies=(np.full(9, 2.0),) * 3)
        for one, other in zip(of_copies, errors(Centred.of(twice), coupling), strict=True):
            np.testing.assert_allclose(one, other[::2])


def test_independent_tasks_are_left_alone_by_shared_rows() -> None:
    """With a coupling of 1 the labels of a row say nothing about each other."""
    rng = np.random.default_rng(2)
    X, Y, w = rng.normal(size=(9, 3)), rng.normal(size=(2, 9)), np.full(9, 1 / 9)
    coupling = TaskCoupling.to_mean(2, alpha=0.2, coupling=1.0)
    shared, apart = TaskData((X,) * 2, tuple(Y), (w,) * 2), TaskData((X, X.copy()), tuple(Y), (w,) * 2)
    for errors in (leave_one_out, generalised_errors):
        for one, other in zip(errors(Centred.of(shared), coupling), errors(Centred.of(apart), coupling), strict=True):
            np.testing.assert_allclose(one, other)


def test_one_of_several_copies_is_left_out() -> None:
    data, coupling = problem()
    twice = TaskData(
        tuple(np.repeat(X, 2, axis=0) for X in data.designs),
        tuple(np.repeat(y, 2) for y in data.targets),
        tuple(np.repeat(w, 2) for w in data.weights),
    )
    doubled = replace(data, weights=tuple(2 * w for w in data.weights))
    copies = tuple(np.full(len(w), 2.0) for w in data.weights)
    for errors in (leave_one_out, generalised_errors):
        found, expected = errors(Centred.of(doubled), coupling, copies=copies), errors(Centred.of(twice), coupling)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other[::2])


def test_generalised_errors_have_one_leverage_for_all() -> None:
    data, coupling = problem(fit_intercept=False)
    fit = solve_coupled_ridge(data, coupling)
    ratios = []
    for task, errors in enumerate(generalised_errors(Centred.of(data), coupling)):
        ratios.extend((data.targets[task] - data.designs[task] @ fit.coefficients[:, task]) / errors)
    np.testing.assert_allclose(ratios, ratios[0])
    assert 0 < ratios[0] < 1


def test_the_only_sample_of_a_task_says_nothing_about_its_intercept() -> None:
    data, coupling = problem()
    short = replace(data, **{name: (getattr(data, name)[0][:1], *getattr(data, name)[1:]) for name in
                             ("designs", "targets", "weights")})  # fmt: skip
    errors = leave_one_out(Centred.of(short), coupling)
    assert np.isnan(errors[0]).tolist() == [True]
    assert np.isfinite(np.concatenate(errors[1:])).all()


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
