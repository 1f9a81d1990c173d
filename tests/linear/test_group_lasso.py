from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, MultiTaskElasticNet, MultiTaskLasso, Ridge

from taskloom.linear import MultiTaskGroupLasso, MultiTaskGroupLassoClassifier, MultiTaskLasso1
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RANGES: dict[str, tuple[Any, ...]] = {
    "alpha": (-1.0, np.nan, None),
    "l2": (-1.0,),
    "q": (0.5, np.nan, "2", [2.0], [1.0, 2.0, 0.9, 1.0]),
    "feature_weights": ([1.0], [-1.0, 1.0, 1.0, 1.0], [0.0] * 4, [np.inf, 1.0, 1.0, 1.0], "many"),
    "groups": ([0, 1],),
}

RNG = np.random.default_rng(3)
N, D, T = 60, 12, 4
X = RNG.normal(size=(N, D)) + 1
COEF = np.zeros((D, T))
COEF[:3] = RNG.normal(size=(3, T))
Y = X @ COEF + 0.5 * RNG.normal(size=(N, T)) + 2


def gradients(table: Table) -> np.ndarray:
    """Of the squared loss without coefficients, (d, T): each sample counts T / N."""
    tasks = np.unique(table.tasks)
    columns = [
        table.features[rows].T @ (table.y[rows] - table.y[rows].mean()) for rows in (table.tasks == t for t in tasks)
    ]
    return np.column_stack(columns) * len(tasks) / len(table.y)


class TestLaws(EstimatorLaws):
    out_of_range = RANGES

    def make_estimator(self) -> MultiTaskGroupLasso:
        return MultiTaskGroupLasso(0.3, tol=1e-12)

    def for_scaled_targets(self, estimator: MultiTaskGroupLasso, factor: float) -> MultiTaskGroupLasso:
        return estimator.set_params(alpha=factor * estimator.alpha)

    def zero_and_less(self, table: Table) -> tuple[MultiTaskGroupLasso, MultiTaskGroupLasso]:
        q = self.make_estimator().q
        dual = 1.0 if np.isinf(q) else q / (q - 1)
        largest = np.linalg.norm(gradients(table), dual, axis=1).max()
        return tuple(clone(self.make_estimator()).set_params(alpha=f * largest, tol=1e-6) for f in (1.0, 0.999))


class TestLawsOfLargest(TestLaws):
    def make_estimator(self) -> MultiTaskGroupLasso:
        return MultiTaskGroupLasso(0.4, q=np.inf, tol=1e-12)


class TestLawsOfThree(TestLaws):
    def make_estimator(self) -> MultiTaskGroupLasso:
        return MultiTaskGroupLasso(0.3, q=3.0, tol=1e-12)


class TestLawsWithRidge(TestLaws):
    def make_estimator(self) -> MultiTaskGroupLasso:
        return MultiTaskGroupLasso(0.3, l2=0.2, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    out_of_range = RANGES

    def make_estimator(self) -> MultiTaskGroupLassoClassifier:
        return MultiTaskGroupLassoClassifier(0.05, tol=1e-11)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.5, 0.02])
def test_shared_rows_give_the_multi_task_lasso_of_scikit_learn(alpha: float, fit_intercept: bool) -> None:
    reference = MultiTaskLasso(alpha, fit_intercept=fit_intercept, tol=1e-12, max_iter=100_000).fit(X, Y)
    model = MultiTaskGroupLasso(alpha, fit_intercept=fit_intercept, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(model.coef_, reference.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, reference.intercept_, atol=1e-6)


def test_elastic_addition_is_that_of_scikit_learn() -> None:
    reference = MultiTaskElasticNet(0.5, l1_ratio=0.3, tol=1e-12, max_iter=100_000).fit(X, Y)
    model = MultiTaskGroupLasso(0.5 * 0.3, l2=0.5 * 0.7, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(model.coef_, reference.coef_, atol=1e-6)


@pytest.mark.parametrize("q", [1.0, 1.5, 2.0, np.inf])
def test_one_task_is_a_lasso_for_every_q(q: float) -> None:
    reference = Lasso(0.1, tol=1e-12, max_iter=100_000).fit(X, Y[:, 0])
    model = MultiTaskGroupLasso(0.1, q=q, tol=1e-12).fit(X, Y[:, 0])
    np.testing.assert_allclose(model.coef_[0], reference.coef_, atol=1e-6)


def test_q_of_1_leaves_the_tasks_alone() -> None:
    together = MultiTaskGroupLasso(0.1, q=1.0, tol=1e-12).fit(X, Y)
    alone = MultiTaskLasso1(0.1, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(together.coef_, alone.coef_, atol=1e-6)
    assert together.objective_ == pytest.approx(alone.objective_, rel=1e-10)


def test_turning_the_tasks_turns_the_coefficients() -> None:
    rotation = np.linalg.qr(RNG.normal(size=(T, T)))[0]
    plain, turned = (MultiTaskGroupLasso(0.2, tol=1e-12).fit(X, targets).coef_ for targets in (Y, Y @ rotation))
    np.testing.assert_allclose(turned, rotation.T @ plain, atol=1e-6)


def test_without_the_norm_it_is_ridge() -> None:
    model = MultiTaskGroupLasso(0.0, l2=0.3, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(model.coef_, Ridge(0.3 * N).fit(X, Y).coef_, atol=1e-6)


def test_without_any_penalty_it_warns() -> None:
    with pytest.warns(UserWarning, match="LinearRegression"):
        model = MultiTaskGroupLasso(0.0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, np.linalg.lstsq(X - X.mean(0), Y - Y.mean(0))[0].T, atol=1e-8)


def test_weights_of_features() -> None:
    """A feature of weight w is one of weight 1 that was divided by w; weight 0 selects it always."""
    weights = np.resize([1.0, 2.0, 0.5], D)
    weighted = MultiTaskGroupLasso(0.2, feature_weights=weights, tol=1e-12).fit(X, Y)
    divided = MultiTaskGroupLasso(0.2, tol=1e-12).fit(X / weights, Y)
    np.testing.assert_allclose(weighted.coef_, divided.coef_ / weights, atol=1e-6)
    free = MultiTaskGroupLasso(100.0, feature_weights=np.arange(D) > 1).fit(X, Y)
    assert free.selected_features_.tolist() == [0, 1]
    expected = np.linalg.lstsq((X - X.mean(0))[:, :2], Y - Y.mean(0))[0].T
    np.testing.assert_allclose(free.coef_[:, :2], expected, atol=1e-8)


def test_groups_of_features_are_selected_together() -> None:
    groups = np.repeat(["a", "b", "c", "d"], 3)
    model = MultiTaskGroupLasso(0.5, groups=groups, tol=1e-10).fit(X, Y)
    chosen = model.coef_.any(axis=0).reshape(4, 3)
    assert np.array_equal(chosen.all(axis=1), chosen.any(axis=1))
    assert chosen[0].all()
    assert not chosen.all()
    alone = MultiTaskGroupLasso(0.2, groups=np.arange(D), tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(alone.coef_, MultiTaskGroupLasso(0.2, tol=1e-12).fit(X, Y).coef_, atol=1e-5)


def test_sparse_tables_stay_sparse() -> None:
    """More numbers than memory holds when written out."""
    n, d = 300, 200_000
    rows, columns = np.repeat(np.arange(n), 20), RNG.integers(0, d, size=20 * n)
    columns[::20] = np.arange(n) % 7  # features that are not rare
    table = csr_array((RNG.normal(size=20 * n), (rows, columns)), shape=(n, d))
    y = table[:, [0, 1, 2]].sum(axis=1)
    targets = np.column_stack([np.asarray(y).ravel(), -np.asarray(y).ravel()])
    model = MultiTaskGroupLasso(0.02).fit(table, targets)
    assert set(model.selected_features_) >= {0, 1, 2}
    assert len(model.selected_features_) < 100


def test_too_few_iterations_warn_with_gap_and_tolerance() -> None:
    with pytest.warns(ConvergenceWarning, match=r"gap of .* above tol=1e-14"):
        MultiTaskGroupLasso(0.001, tol=1e-14, max_iter=1).fit(X, Y)
