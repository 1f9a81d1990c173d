from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import MultiTaskLasso

from taskloom.linear import RobustFeature, RobustFeatureClassifier, TraceNorm
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(31)
FEATURES = RNG.normal(size=(60, 6))
COEF = np.zeros((5, 6))
COEF[:, :2] = RNG.normal(size=(5, 2)) + 2
COEF[4] = RNG.normal(size=6)
Y = FEATURES @ COEF.T + 0.2 * RNG.normal(size=(60, 5))


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha_feature": (-1.0, np.nan), "alpha_outlier": (-1.0, None)}

    def make_estimator(self) -> RobustFeature:
        return RobustFeature(0.2, alpha_outlier=0.25, tol=1e-12)

    def for_scaled_targets(self, estimator: RobustFeature, factor: float) -> RobustFeature:
        return estimator.set_params(
            alpha_feature=factor * estimator.alpha_feature, alpha_outlier=factor * estimator.alpha_outlier
        )

    def zero_and_less(self, table: Table) -> tuple[RobustFeature, RobustFeature]:
        columns = []
        for task in range(3):
            rows = table.tasks == task
            columns.append(table.features[rows].T @ (table.y[rows] - table.y[rows].mean()) * 3 / len(table.y))
        G = np.column_stack(columns)
        factor = max(np.linalg.norm(G, axis=1).max() / 0.2, np.linalg.norm(G, axis=0).max() / 0.25)
        return tuple(
            clone(self.make_estimator()).set_params(alpha_feature=0.2 * f, alpha_outlier=0.25 * f)
            for f in (factor, 0.999 * factor)
        )


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha_feature": (-1.0,), "alpha_outlier": (-1.0,)}

    def make_estimator(self) -> RobustFeatureClassifier:
        return RobustFeatureClassifier(0.02, alpha_outlier=0.03, tol=1e-11)


def test_features_and_outliers_are_found() -> None:
    model = RobustFeature(0.3, alpha_outlier=0.33).fit(FEATURES, Y)
    assert model.selected_features_.tolist() == [0, 1]
    assert model.outlier_tasks_.tolist() == [4]
    np.testing.assert_allclose(model.coef_, model.coef_shared_ + model.coef_outlier_)


def test_no_outliers_from_the_root_of_the_number_of_features_on() -> None:
    model = RobustFeature(0.2, alpha_outlier=0.2 * np.sqrt(6) + 1e-4, tol=1e-12).fit(FEATURES, Y)
    assert len(model.outlier_tasks_) == 0
    theirs = MultiTaskLasso(0.2, tol=1e-10, max_iter=100_000).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-5)


def test_no_common_features_from_the_root_of_the_number_of_tasks_on() -> None:
    model = RobustFeature(0.2 * np.sqrt(5) + 1e-4, alpha_outlier=0.2, tol=1e-12).fit(FEATURES, Y)
    assert len(model.selected_features_) == 0
    for task in (0, 4):
        one = TraceNorm(0.2, tol=1e-12).fit(FEATURES, Y[:, task])
        np.testing.assert_allclose(model.coef_[task], one.coef_[0], atol=1e-5)


def test_no_penalty_is_least_squares_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="without any penalty"):
        model = RobustFeature(0.0).fit(FEATURES, Y)
    np.testing.assert_array_equal(model.coef_, model.coef_shared_)
