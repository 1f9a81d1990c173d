from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from taskloom.errors import DataError
from taskloom.linear import (
    GraphRegularized,
    MeanRegularized,
    MeanRegularizedClassifier,
    TaskCoupledRidge,
    deviation_form,
)
from taskloom.testing import EstimatorLaws
from taskloom.testing.oracles import check_file

# Entries mean_reg, graph_path, cluster_known and cluster_relaxed of the golden values, with their data: copied.
GOLDEN = Path(__file__).with_name("couplings.npz")
RANGES: dict[str, tuple[Any, ...]] = {
    "alpha": (-1.0, np.nan, "1"),
    "coupling": (0.0, -1.0, np.inf),
    "fit_intercept": ("sharing",),
}


class TestLaws(EstimatorLaws):
    out_of_range = RANGES

    def make_estimator(self) -> MeanRegularized:
        return MeanRegularized(0.1, coupling=5.0)


class TestLawsWithOneIntercept(EstimatorLaws):
    def make_estimator(self) -> MeanRegularized:
        return MeanRegularized(0.1, coupling=5.0, fit_intercept="shared")


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {**RANGES, "alpha": (-1.0, np.nan)}

    def make_estimator(self) -> MeanRegularizedClassifier:
        return MeanRegularizedClassifier(0.05, coupling=5.0, tol=1e-12)


def test_golden_values() -> None:
    outcomes = check_file(GOLDEN)
    assert [str(one) for one in outcomes if one.status != "pass"] == []
    assert len(outcomes) == 30


RNG = np.random.default_rng(7)
TASKS = RNG.permutation(np.repeat([0, 1, 2], (10, 14, 8)))
FEATURES = RNG.normal(size=(32, 4))
X = np.column_stack([TASKS, FEATURES])
Y = FEATURES @ [1.0, -1.0, 0.5, 0.0] + TASKS * FEATURES[:, 3] + 0.5 * RNG.normal(size=32)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_coupling_1_is_ridge_for_each_task(fit_intercept: bool) -> None:
    model = MeanRegularized(0.2, coupling=1.0, task_feature=0, fit_intercept=fit_intercept).fit(X, Y)
    for task in range(3):
        rows = task == TASKS
        ridge = Ridge(0.2 * len(Y) / 3, fit_intercept=fit_intercept).fit(FEATURES[rows], Y[rows])
        np.testing.assert_allclose(model.coef_[task], ridge.coef_, rtol=1e-10)
        np.testing.assert_allclose(model.intercept_[task], ridge.intercept_, atol=1e-10)


def test_an_endless_coupling_pools_the_rows() -> None:
    model = MeanRegularized(0.2, coupling=1e8, task_feature=0, fit_intercept=False).fit(X, Y)
    pooled = Ridge(0.2 * len(Y), fit_intercept=False).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_, np.tile(pooled.coef_, (3, 1)), atol=1e-6)


def test_below_1_tasks_are_pushed_apart() -> None:
    spread = [
        np.std(MeanRegularized(0.5, coupling=g, task_feature=0).fit(X, Y).coef_, axis=0).sum()
        for g in (0.1, 1, 10, 100)
    ]
    assert spread == sorted(spread, reverse=True)


def test_the_form_of_evgeniou_and_pontil() -> None:
    """Minimise over the common vector and the deviations directly, as they write it."""
    l1, l2, n = 1.5, 0.6, 10
    rows = [np.flatnonzero(task == TASKS)[:n] for task in range(3)]
    rows = [one[: min(map(len, rows))] for one in rows]
    n = len(rows[0])
    blocks = np.zeros((3 * n, 16))
    for task, one in enumerate(rows):
        blocks[task * n : (task + 1) * n, :4] = FEATURES[one]
        blocks[task * n : (task + 1) * n, 4 + 4 * task : 8 + 4 * task] = FEATURES[one]
    chosen = np.concatenate(rows)
    penalty = np.diag(np.r_[np.full(4, 2 * l2), np.full(12, 2 * l1 / 3)])
    found = np.linalg.solve(blocks.T @ blocks / n + penalty, blocks.T @ Y[chosen] / n)
    common, deviations = found[:4], found[4:].reshape(3, 4)
    form = deviation_form(deviation=l1, common=l2, n_tasks=3)
    model = MeanRegularized(form.alpha, coupling=form.coupling, task_feature=0, fit_intercept=False)
    model.fit(X[chosen], Y[chosen])
    np.testing.assert_allclose(model.coef_, common + deviations, atol=1e-10)
    np.testing.assert_allclose(form.common_share * model.coef_.mean(axis=0), common, atol=1e-10)
    with pytest.raises(DataError, match="deviation=0"):
        deviation_form(deviation=0, common=1.0, n_tasks=3)


def test_it_is_a_coupled_ridge_and_a_complete_graph() -> None:
    mean = np.full((3, 3), 1 / 3)
    model = MeanRegularized(0.2, coupling=7.0, task_feature=0).fit(X, Y)
    precision = mean + 7.0 * (np.eye(3) - mean)
    same = TaskCoupledRidge(0.2, task_precision=precision, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=1e-10)
    graph = GraphRegularized(0.2, graph=np.ones((3, 3)), coupling=2.0, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, graph.coef_, rtol=1e-10)
    assert graph.objective_ == pytest.approx(model.objective_)


def test_one_task_is_ridge_and_logistic_regression() -> None:
    alone = MeanRegularized(0.3, coupling=50.0).fit(FEATURES, Y)
    np.testing.assert_allclose(alone.coef_[0], Ridge(0.3 * 32).fit(FEATURES, Y).coef_)
    labels = (Y > 0).astype(int)
    model = MeanRegularizedClassifier(0.3, coupling=50.0, tol=1e-12).fit(FEATURES, labels)
    theirs = LogisticRegression(C=1 / (32 * 0.3), tol=1e-10, max_iter=10_000).fit(FEATURES, labels)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(FEATURES), theirs.predict_proba(FEATURES), atol=1e-5)


def test_an_unknown_task_gets_the_mean_task() -> None:
    model = MeanRegularized(task_feature=0, unknown_task="mean").fit(X, Y)
    asked = np.column_stack([[9, 1], FEATURES[:2]])
    expected = FEATURES[0] @ model.coef_.mean(axis=0) + model.intercept_.mean()
    np.testing.assert_allclose(model.predict(asked), [expected, FEATURES[1] @ model.coef_[1] + model.intercept_[1]])


def test_no_penalty_is_least_squares_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"sklearn\.linear_model\.LinearRegression"):
        model = MeanRegularized(0.0, task_feature=0).fit(X, Y)
    expected = np.linalg.lstsq(np.column_stack([FEATURES[TASKS == 1], np.ones(14)]), Y[TASKS == 1])[0]
    np.testing.assert_allclose(np.r_[model.coef_[1], model.intercept_[1]], expected)
    with pytest.raises(DataError, match="may have no solution"):
        MeanRegularizedClassifier(0.0, task_feature=0).fit(X, Y > 0)


def test_one_intercept_for_all_tasks() -> None:
    model = MeanRegularized(0.2, coupling=3.0, task_feature=0, fit_intercept="shared").fit(X, Y)
    assert np.ptp(model.intercept_) == 0
    assert np.sum(Y - model.predict(X)) == pytest.approx(0, abs=1e-9)
    free = MeanRegularized(0.2, coupling=3.0, task_feature=0).fit(X, Y)
    assert free.objective_ < model.objective_


def test_a_task_of_one_class() -> None:
    labels = np.where(TASKS == 2, "yes", np.where(Y > 0, "yes", "no"))
    with pytest.raises(ValueError, match=r"task 2 has a single class.*single_class=\"constant\""):
        MeanRegularizedClassifier(task_feature=0).fit(X, labels)
    constant = MeanRegularizedClassifier(task_feature=0, single_class="constant", unknown_task="mean").fit(X, labels)
    last = np.column_stack([np.full(5, 2), FEATURES[:5]])
    assert constant.predict(last).tolist() == ["yes"] * 5
    np.testing.assert_array_equal(constant.predict_proba(last)[:, 1], 1)
    assert np.isfinite(constant.decision_function(np.column_stack([np.full(5, 8), FEATURES[:5]]))).all()
    rest = TASKS < 2  # the loss is that of the other tasks, and so are their weights
    np.testing.assert_allclose(
        constant.predict_proba(X[rest]),
        MeanRegularizedClassifier(task_feature=0, single_class="constant").fit(X, labels).predict_proba(X[rest]),
    )
    assert MeanRegularizedClassifier(task_feature=0, fit_intercept=False).fit(X, labels).classes_.tolist() == [
        "no",
        "yes",
    ]
    with pytest.raises(ValueError, match="one class"):
        MeanRegularizedClassifier(task_feature=0, fit_intercept=False).fit(X, np.full(32, "yes"))


def test_a_task_without_labels_is_predicted_by_the_others() -> None:
    targets = np.column_stack([Y, Y + FEATURES[:, 0], np.full(32, np.nan)])
    with pytest.warns(UserWarning, match="no labels .* for the tasks 2"):
        model = MeanRegularized(0.1).fit(FEATURES, targets)
    assert model.predict(FEATURES).shape == (32, 3)
    pulled = model.coef_[:2].mean(axis=0)
    assert np.corrcoef(model.coef_[2], pulled)[0, 1] > 0.999
    assert model.intercept_[2] == 0
    assert model.score(FEATURES, targets) == pytest.approx(model.score(FEATURES, np.where(targets > 1e9, 0, targets)))


def test_accuracy() -> None:
    labels = (Y > 0).astype(int)
    long = MeanRegularizedClassifier(task_feature=0).fit(X, labels)
    assert long.score(X, labels) == pytest.approx(np.mean(long.predict(X) == labels))
    both = np.column_stack([labels, 1 - labels]).astype(float)
    shared = MeanRegularizedClassifier().fit(FEATURES, both)
    assert shared.score(FEATURES, both) == pytest.approx(np.mean((shared.predict(FEATURES) == both).all(axis=1)))
    both[0, 0] = np.nan
    with pytest.raises(DataError, match="use task_scores"):
        shared.score(FEATURES, both)


def test_scores() -> None:
    """Pooled over rows for one label per row, the mean over tasks where the tasks share the rows."""
    from sklearn.metrics import r2_score

    long = MeanRegularized(task_feature=0).fit(X, Y)
    assert long.score(X, Y) == pytest.approx(r2_score(Y, long.predict(X)))
    targets = np.column_stack([Y, 3 - Y])
    shared = MeanRegularized().fit(FEATURES, targets)
    assert shared.score(FEATURES, targets) == pytest.approx(r2_score(targets, shared.predict(FEATURES)))
    gaps = targets.copy()
    gaps[::3, 0] = np.nan
    known = np.isfinite(gaps[:, 0])
    parts = [
        r2_score(Y[known], shared.predict(FEATURES)[known, 0]),
        r2_score(targets[:, 1], shared.predict(FEATURES)[:, 1]),
    ]
    assert shared.score(FEATURES, gaps) == pytest.approx(np.mean(parts))
