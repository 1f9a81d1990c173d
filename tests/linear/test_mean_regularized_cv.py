from __future__ import annotations

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.linear import MeanRegularized, MeanRegularizedCV
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(5)
TASKS = np.repeat(np.arange(5), 7)
FEATURES = RNG.normal(size=(35, 3))
X = np.column_stack([TASKS, FEATURES])
Y = FEATURES @ [1.0, 2.0, -1.0] + 0.3 * TASKS * FEATURES[:, 0] + 0.5 * RNG.normal(size=35)


class TestLaws(EstimatorLaws):
    follows_scale = False  # the grid is that of the features, the errors that of the targets: equal up to ties
    averages_scale = False  # twice the rows, twice the evidence: other strengths may be chosen
    out_of_range = {
        "alphas": ([0.0], [], [np.nan]),
        "couplings": ([-1.0],),
        "criterion": ("cv",),
        "average": ("mean",),
    }

    def make_estimator(self) -> MeanRegularizedCV:
        return MeanRegularizedCV([0.01, 0.1, 1.0], couplings=[1.0, 10.0])


def test_one_pair_is_a_plain_fit() -> None:
    chosen = MeanRegularizedCV([0.3], couplings=[4.0], task_feature=0).fit(X, Y)
    plain = MeanRegularized(0.3, coupling=4.0, task_feature=0).fit(X, Y)
    assert (chosen.alpha_, chosen.coupling_) == (0.3, 4.0)
    np.testing.assert_allclose(chosen.coef_, plain.coef_)
    assert chosen.objective_ == pytest.approx(plain.objective_)


def test_the_error_is_that_of_leaving_each_row_out() -> None:
    """Equal tasks of 7 rows: without one row its task has 6, which loss_weights brings back to the old weight."""
    squares = []
    for left_out in range(35):
        kept = np.arange(35) != left_out
        weights = np.ones(5)
        weights[TASKS[left_out]] = 6 / 7
        fit = MeanRegularized(0.05, coupling=3.0, task_feature=0, loss_weights=weights).fit(X[kept], Y[kept])
        squares.append((Y[left_out] - fit.predict(X[[left_out]])[0]) ** 2)
    for average, expected in (
        ("micro", np.mean(squares)),
        ("macro", np.mean(np.reshape(squares, (5, 7)).mean(axis=1))),
    ):
        model = MeanRegularizedCV([0.05], couplings=[3.0], task_feature=0, average=average).fit(X, Y)
        assert model.mse_path_[0, 0] == pytest.approx(expected)


def test_like_tasks_are_coupled_and_unlike_ones_are_not() -> None:
    alike = FEATURES @ [1.0, 2.0, -1.0] + 0.5 * RNG.normal(size=35)
    assert MeanRegularizedCV(task_feature=0).fit(X, alike).coupling_ == 100.0
    apart = np.einsum("nd,nd->n", FEATURES, 5 * RNG.normal(size=(5, 3))[TASKS]) + 0.5 * RNG.normal(size=35)
    assert MeanRegularizedCV(task_feature=0).fit(X, apart).coupling_ == 1.0


@pytest.mark.parametrize("criterion", ["loo", "gcv"])
def test_one_standard_error_is_stronger(criterion: str) -> None:
    best = MeanRegularizedCV(task_feature=0, criterion=criterion).fit(X, Y)
    wide = MeanRegularizedCV(task_feature=0, criterion=criterion, one_standard_error=True).fit(X, Y)
    assert wide.alpha_ > best.alpha_
    assert wide.coupling_ == best.coupling_
    assert best.mse_path_.min() == best.mse_path_[best.mse_path_ == best.mse_path_.min()][0]
    assert (best.mse_path_error_ > 0).all()


def test_a_shared_row_is_left_out_of_all_tasks() -> None:
    targets = np.column_stack([Y, Y + FEATURES[:, 1]])
    squares = []
    for left_out in range(35):
        kept = np.arange(35) != left_out
        fit = MeanRegularized(0.05, coupling=3.0, loss_weights=[34 / 35] * 2).fit(FEATURES[kept], targets[kept])
        squares.append((targets[left_out] - fit.predict(FEATURES[[left_out]])[0]) ** 2)
    model = MeanRegularizedCV([0.05], couplings=[3.0]).fit(FEATURES, targets)
    assert model.mse_path_[0, 0] == pytest.approx(np.mean(squares))


@pytest.mark.parametrize("average", ["micro", "macro"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_a_row_with_missing_labels_is_left_out_of_all_tasks(fit_intercept: bool, average: str) -> None:
    """Against fits of the other rows; loss_weights brings the weight of a label back to what it was."""
    targets = np.column_stack([Y, Y + FEATURES[:, 1], -Y])
    targets[np.random.default_rng(6).uniform(size=targets.shape) < 0.4] = np.nan
    is_there = ~np.isnan(targets)
    errors = np.full(targets.shape, np.nan)
    for left_out in np.flatnonzero(is_there.any(axis=1)):
        kept = np.arange(35) != left_out
        weights = is_there[kept].sum(axis=0) * 3 / is_there.sum()
        model = MeanRegularized(0.05, coupling=30.0, loss_weights=weights, fit_intercept=fit_intercept)
        model.fit(FEATURES[kept], targets[kept])
        errors[left_out] = targets[left_out] - model.predict(FEATURES[[left_out]])[0]
    by_task = np.nanmean(errors**2, axis=0)
    model = MeanRegularizedCV([0.05], couplings=[30.0], average=average, fit_intercept=fit_intercept)
    model.fit(FEATURES, targets)
    expected = np.nanmean(errors**2) if average == "micro" else by_task.mean()
    assert model.mse_path_[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("has_gaps", [False, True])
@pytest.mark.parametrize("criterion", ["loo", "gcv"])
def test_errors_that_tasks_share_are_no_reason_to_couple_them(criterion: str, has_gaps: bool) -> None:
    """The labels of other tasks predict the label of a row, but a new row comes without labels."""
    rng = np.random.default_rng(0)
    features, coef = rng.normal(size=(40, 60)), rng.normal(size=(60, 4)) * np.geomspace(1, 0.1, 60)[:, None]
    targets = features @ coef + 2 * rng.normal(size=(40, 1))
    if has_gaps:  # where a task lacks labels, others may tell about it: some coupling is right, and gains little
        targets[::7, 1] = np.nan
        rows, tasks = np.nonzero(~np.isnan(targets))
        long = MeanRegularizedCV(criterion=criterion, task_feature=0)
        long.fit(np.column_stack([tasks, features[rows]]), targets[rows, tasks])
        wide = MeanRegularizedCV(criterion=criterion).fit(features, targets)
        for model, least in ((long, 0.0), (wide, 0.95)):
            best = model.mse_path_.min(axis=1)
            assert least < best.min() / best[0] < least + 0.6
        return
    assert MeanRegularizedCV(criterion=criterion).fit(features, targets).coupling_ == 1.0
    of_labels = MeanRegularizedCV(criterion=criterion, task_feature=0)
    of_labels.fit(np.column_stack([np.tile(np.arange(4), 40), np.repeat(features, 4, axis=0)]), targets.ravel())
    assert of_labels.coupling_ > 1.0


def test_the_shared_form_agrees() -> None:
    """One by one labels and whole rows are the same where tasks are not coupled."""
    targets = np.column_stack([Y, Y + FEATURES[:, 1]])
    shared = MeanRegularizedCV(couplings=[1.0]).fit(FEATURES, targets)
    long = MeanRegularizedCV(couplings=[1.0], task_feature=0)
    long.fit(np.column_stack([np.tile([0, 1], 35), np.repeat(FEATURES, 2, axis=0)]), targets.ravel())
    np.testing.assert_allclose(shared.mse_path_, long.mse_path_)
    np.testing.assert_allclose(shared.coef_, long.coef_, atol=1e-10)


def test_rows_that_nothing_else_predicts() -> None:
    with pytest.raises(DataError, match="more than one sample"):
        MeanRegularizedCV(task_feature=0).fit(X[::7], Y[::7])
    some = np.r_[0:7, 7]  # the second task has one row
    assert np.isfinite(MeanRegularizedCV(task_feature=0).fit(X[some], Y[some]).mse_path_).all()


def test_a_single_task_has_the_standard_error_of_its_samples() -> None:
    found = [
        MeanRegularizedCV(average=average, one_standard_error=True).fit(FEATURES, Y) for average in ("micro", "macro")
    ]
    np.testing.assert_allclose(found[1].mse_path_error_, found[0].mse_path_error_)
    assert (found[0].mse_path_error_ > 0).all()
    assert found[1].alpha_ == found[0].alpha_
