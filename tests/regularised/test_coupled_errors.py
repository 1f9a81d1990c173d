"""Errors of prediction from one fit are those of fitting again without a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.regularised.coupled_problem import problem

from taskloom.regularised.coupled.block_cholesky import BlockCholesky
from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled.dual import Dual
from taskloom.regularised.coupled.low_rank import LowRank
from taskloom.regularised.coupled_errors import generalised_errors, leave_one_out
from taskloom.regularised.coupled_ridge import solve_coupled_ridge
from taskloom.regularised.data import TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

Places = tuple[np.ndarray, ...]


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


# -- rows of which some tasks have a label --------------------------------------------------------------------------

CLUSTERS = TaskCoupling.to_clusters(np.array([0, 0, 1, 1, 1]), mean=0.1, between=0.3, within=2.0)
COUPLINGS = {"mean": TaskCoupling.to_mean(5, alpha=0.2, coupling=4.0), "clusters": CLUSTERS}


def with_gaps(*, n_rows: int, n_tasks: int, n_features: int, fit_intercept: bool) -> tuple[TaskData, Places]:
    """Rows of which each has one to all labels, and a task that has a single one."""
    rng = np.random.default_rng([n_rows, n_tasks, n_features])
    X, Y = rng.normal(size=(n_rows, n_features)) + 1, rng.normal(size=(n_rows, n_tasks))
    weights = rng.uniform(0.05, 0.2, size=Y.shape)
    is_there = rng.uniform(size=Y.shape) < 0.6
    is_there[:, 0] |= ~is_there.any(axis=1)
    is_there[:, -1] = np.arange(n_rows) == 1
    places = tuple(np.flatnonzero(column) for column in is_there.T)
    columns = list(enumerate(places))
    data = TaskData(
        tuple(X[rows] for rows in places),
        tuple(Y[rows, task] for task, rows in columns),
        tuple(weights[rows, task] for task, rows in columns),
        fit_intercept,
    )
    return data, places


def refitted(data: TaskData, coupling: TaskCoupling, *, places: Places, row: int) -> dict[int, float]:
    """Errors of the labels of a row by the fit of all other rows, by task."""
    kept = [own != row for own in places]
    rest = TaskData(
        tuple(X[mask] for X, mask in zip(data.designs, kept, strict=True)),
        tuple(y[mask] for y, mask in zip(data.targets, kept, strict=True)),
        tuple(w[mask] for w, mask in zip(data.weights, kept, strict=True)),
        data.fit_intercept,
    )
    fit = solve_coupled_ridge(rest, coupling)
    found = {}
    for task, mask in enumerate(kept):
        for sample in np.flatnonzero(~mask):
            predicted = data.designs[task][sample] @ fit.coefficients[:, task] + fit.intercepts[task]
            found[task] = float(data.targets[task][sample] - predicted)
    return found


@pytest.mark.parametrize("method", [BlockCholesky, LowRank, Dual], ids=lambda one: one.__name__)
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_rows_with_missing_labels_are_left_out_whole(
    fit_intercept: bool, coupling: str, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, places = with_gaps(n_rows=14, n_tasks=5, n_features=4, fit_intercept=fit_intercept)
    monkeypatch.setattr("taskloom.regularised.coupled_errors.choose_direct", method)
    monkeypatch.setattr("taskloom.regularised.coupled_errors.NUMBERS", 20)  # a few rows at a time
    errors = leave_one_out(Centred.of(data), COUPLINGS[coupling], places=places)
    apart = leave_one_out(Centred.of(data), COUPLINGS[coupling])
    for row in range(14):
        for task, expected in refitted(data, COUPLINGS[coupling], places=places, row=row).items():
            found = errors[task][places[task] == row]
            if task == 4 and fit_intercept:  # its only label: nothing is left to fit the intercept
                assert np.isnan(found).all()
            else:
                assert found == pytest.approx(expected, rel=1e-8, abs=1e-12)
    assert not np.allclose(errors[0], apart[0], atol=1e-4), "the other labels of a row tell about it"


@pytest.mark.parametrize("errors", [leave_one_out, generalised_errors])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_without_gaps_it_is_what_shared_rows_give(errors: Any, fit_intercept: bool) -> None:
    """One design object takes directions of the coupling apart; five equal ones solve a block for each row."""
    rng = np.random.default_rng(8)
    X, Y, w = rng.normal(size=(12, 3)) + 1, rng.normal(size=(5, 12)), rng.uniform(0.05, 0.2, size=12)
    copies = (rng.integers(1, 4, size=12).astype(float),) * 5
    shared = TaskData((X,) * 5, tuple(Y), (w,) * 5, fit_intercept)
    apart = replace(shared, designs=tuple(X.copy() for _ in range(5)))
    places = (np.arange(12),) * 5
    for coupling in COUPLINGS.values():
        expected = errors(Centred.of(shared), coupling, places=places, copies=copies)
        found = errors(Centred.of(apart), coupling, places=places, copies=copies)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("errors", [leave_one_out, generalised_errors])
def test_one_of_several_copies_of_a_row_with_gaps(errors: Any) -> None:
    data, places = with_gaps(n_rows=14, n_tasks=5, n_features=4, fit_intercept=True)
    coupling = COUPLINGS["mean"]
    twice = TaskData(
        tuple(np.repeat(X, 2, axis=0) for X in data.designs),
        tuple(np.repeat(y, 2) for y in data.targets),
        tuple(np.repeat(w, 2) for w in data.weights),
    )
    doubled = replace(data, weights=tuple(2 * w for w in data.weights))
    of_two = tuple((2 * own[:, None] + [0, 1]).ravel() for own in places)
    copies = tuple(np.full(len(w), 2.0) for w in data.weights)
    found = errors(Centred.of(doubled), coupling, places=places, copies=copies)
    for one, other in zip(found, errors(Centred.of(twice), coupling, places=of_two), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_allclose(one, other[::2], rtol=1e-9)


def test_rows_of_single_labels_are_samples() -> None:
    data, coupling = problem()
    places = (np.arange(8), np.arange(8, 13), np.arange(13, 24))
    for errors in (leave_one_out, generalised_errors):
        for one, other in zip(
            errors(Centred.of(data), coupling, places=places), errors(Centred.of(data), coupling), strict=True
        ):
            np.testing.assert_array_equal(one, other)


def test_mean_leverages_are_those_of_rows_with_the_same_labels() -> None:
    data, places = with_gaps(n_rows=14, n_tasks=5, n_features=4, fit_intercept=True)
    kept = TaskData(data.designs[:4], data.targets[:4], data.weights[:4])
    coupling, places = TaskCoupling.to_mean(4, alpha=0.2, coupling=4.0), places[:4]
    labels = [tuple(task for task in range(4) if row in places[task]) for row in range(14)]
    rare = next(row for row in range(14) if labels.count(labels[row]) == 1)
    several = next(row for row in range(14) if labels.count(labels[row]) > 1)
    one, mean = (errors(Centred.of(kept), coupling, places=places) for errors in (leave_one_out, generalised_errors))
    for row, is_same in ((rare, True), (several, False)):
        for task in labels[row]:
            sample = np.flatnonzero(places[task] == row)[0]
            assert np.isclose(one[task][sample], mean[task][sample], rtol=1e-9) == is_same


def test_mean_leverages_leave_something_of_every_row() -> None:
    """What is left of mean leverages is positive, however many coefficients there are."""
    for seed in range(20):
        data, places = with_gaps(n_rows=6 + seed % 5, n_tasks=5, n_features=9, fit_intercept=True)
        coupling = TaskCoupling.to_mean(5, alpha=1e-3, coupling=10.0 ** (seed % 4))
        errors = generalised_errors(Centred.of(data), coupling, places=places)
        assert all(np.isfinite(own).all() for own, y in zip(errors, data.targets, strict=True) if len(y) > 1)
        assert np.isnan(errors[4]).all()
