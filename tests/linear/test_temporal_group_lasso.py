from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, MultiTaskElasticNet

from taskloom.errors import DataError
from taskloom.linear import GraphRegularized, MeanRegularized, TemporalGroupLasso, TemporalGroupLassoClassifier
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(37)
FEATURES = RNG.normal(size=(40, 5))
COEF = np.zeros((4, 5))
COEF[:, 0] = [1.0, 1.4, 1.8, 2.2]
COEF[:, 3] = [-1.0, -0.8, -0.6, -0.4]
Y = FEATURES @ COEF.T + 0.3 * RNG.normal(size=(40, 4))


class TestLaws(EstimatorLaws):
    tasks_are_alike = False
    out_of_range = {
        "alpha_group": (-1.0, np.nan),
        "alpha_temporal": (-1.0, None),
        "alpha_ridge": (-1.0,),
        "order": ([0, 1], [0, 1, 1], [0, 1, 3], "backwards"),
    }

    def make_estimator(self) -> TemporalGroupLasso:
        return TemporalGroupLasso(0.3, alpha_temporal=0.2, alpha_ridge=0.05, tol=1e-12)

    def for_scaled_targets(self, estimator: TemporalGroupLasso, factor: float) -> TemporalGroupLasso:
        return estimator.set_params(alpha_group=factor * estimator.alpha_group)

    def zero_and_less(self, table: Table) -> tuple[TemporalGroupLasso, TemporalGroupLasso]:
        columns = []
        for task in range(3):
            rows = table.tasks == task
            columns.append(table.features[rows].T @ (table.y[rows] - table.y[rows].mean()) * 3 / len(table.y))
        largest = np.linalg.norm(np.column_stack(columns), axis=1).max()
        return tuple(clone(self.make_estimator()).set_params(alpha_group=f * largest) for f in (1.0, 0.999))


class TestLawsWithoutRidge(TestLaws):
    def make_estimator(self) -> TemporalGroupLasso:
        return TemporalGroupLasso(0.3, alpha_temporal=0.2, alpha_ridge=0.0, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    tasks_are_alike = False
    out_of_range = {"alpha_group": (-1.0,), "alpha_temporal": (-1.0,), "alpha_ridge": (-1.0,)}

    def make_estimator(self) -> TemporalGroupLassoClassifier:
        return TemporalGroupLassoClassifier(0.03, alpha_temporal=0.02, alpha_ridge=0.005, tol=1e-11)


def test_without_steps_it_is_the_elastic_group_lasso() -> None:
    model = TemporalGroupLasso(0.2, alpha_temporal=0.0, alpha_ridge=0.1, tol=1e-12).fit(FEATURES, Y)
    theirs = MultiTaskElasticNet(0.3, l1_ratio=2 / 3, tol=1e-10, max_iter=100_000).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-6)


def test_without_groups_it_is_the_path() -> None:
    model = TemporalGroupLasso(0.0, alpha_temporal=0.6, alpha_ridge=0.2).fit(FEATURES, Y)
    path = GraphRegularized(0.2, graph="path", coupling=3.0).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_, path.coef_, rtol=1e-10)


def test_strong_steps_give_one_vector() -> None:
    model = TemporalGroupLasso(0.0, alpha_temporal=1e8, alpha_ridge=0.2).fit(FEATURES, Y)
    pooled = MeanRegularized(0.2, coupling=1e9).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_, pooled.coef_, atol=1e-6)
    assert np.ptp(model.coef_, axis=0).max() < 1e-6


def test_one_task_is_the_elastic_net() -> None:
    model = TemporalGroupLasso(0.2, alpha_temporal=5.0, alpha_ridge=0.1, tol=1e-13).fit(FEATURES[:, :1], Y[:, 0])
    theirs = ElasticNet(0.3, l1_ratio=2 / 3, tol=1e-12).fit(FEATURES[:, :1], Y[:, 0])
    np.testing.assert_allclose(model.coef_[0], theirs.coef_, atol=1e-7)


def test_the_order_is_that_of_time() -> None:
    """Columns in another order, and the order said: the same coefficients."""
    shuffled = [2, 0, 3, 1]
    plain = TemporalGroupLasso(0.1, tol=1e-12).fit(FEATURES, Y)
    told = TemporalGroupLasso(0.1, order=np.argsort(shuffled), tol=1e-12).fit(FEATURES, Y[:, shuffled])
    np.testing.assert_allclose(told.coef_, plain.coef_[shuffled], atol=1e-6)
    np.testing.assert_allclose(told.intercept_, plain.intercept_[shuffled], atol=1e-6)
    untold = TemporalGroupLasso(0.1, tol=1e-12).fit(FEATURES, Y[:, shuffled])
    assert np.abs(untold.coef_ - plain.coef_[shuffled]).max() > 1e-3


def test_an_order_by_names() -> None:
    names = np.array(["after", "before", "during"], dtype=object)
    tasks = np.repeat([0, 1, 2], 40)
    X = np.column_stack([names[tasks], np.tile(FEATURES, (3, 1))])
    y = Y[:, [2, 0, 1]].T.ravel()
    named = TemporalGroupLasso(order=["before", "during", "after"], task_feature=0, tol=1e-12).fit(X, y)
    numbered = TemporalGroupLasso(tol=1e-12).fit(FEATURES, Y[:, :3])
    np.testing.assert_allclose(named.coef_[[1, 2, 0]], numbered.coef_, atol=1e-6)
    with pytest.raises(DataError, match=r"order=\['before', 'after'\]; expected each of the tasks"):
        TemporalGroupLasso(order=["before", "after"], task_feature=0).fit(X, y)
