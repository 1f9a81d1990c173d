from __future__ import annotations

import numpy as np
import pytest

from taskloom.linear import MultiStageFeature, MultiTaskLasso1
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(8)
X = RNG.normal(size=(70, 15))
COEF = np.zeros((15, 3))
COEF[2], COEF[6] = [1.5, -1.0, 2.0], [1.0, 1.0, -1.0]
Y = X @ COEF + 0.3 * RNG.normal(size=(70, 3))


class TestLaws(EstimatorLaws):
    is_certified = False  # the penalty is not convex
    out_of_range = {"alpha": (0.0, -1.0), "theta": (0.0, -1.0), "n_stages": (0, 1.5)}

    def make_estimator(self) -> MultiStageFeature:
        return MultiStageFeature(0.1, theta=0.8, tol=1e-12)

    def for_scaled_targets(self, estimator: MultiStageFeature, factor: float) -> MultiStageFeature:
        return estimator.set_params(alpha=factor * estimator.alpha, theta=factor * estimator.theta)


def test_objectives_fall_until_the_free_features_stay() -> None:
    model = MultiStageFeature(0.15, theta=1.0, tol=1e-11).fit(X, Y)
    assert 2 <= model.n_stages_ <= 6
    assert np.all(np.diff(model.stage_objectives_) <= 1e-9)
    assert model.free_features_.tolist() == [2, 6]
    sizes = np.abs(model.coef_).sum(axis=0)
    assert np.array_equal(np.flatnonzero(sizes >= 1.0), model.free_features_)
    loss = ((Y - model.predict(X)) ** 2).sum() / (2 * 70)
    assert model.objective_ == pytest.approx(loss + 0.15 * np.minimum(sizes, 1.0).sum(), rel=1e-9)


def test_large_coefficients_are_not_shrunk() -> None:
    lasso, stages = MultiTaskLasso1(0.15).fit(X, Y), MultiStageFeature(0.15, theta=1.0).fit(X, Y)
    true = COEF.T[:, [2, 6]]
    assert np.abs(stages.coef_[:, [2, 6]] - true).max() < np.abs(lasso.coef_[:, [2, 6]] - true).max() / 2
    expected = np.linalg.lstsq((X - X.mean(0))[:, [2, 6]], Y - Y.mean(0))[0].T
    if not np.delete(stages.coef_, [2, 6], axis=1).any():
        np.testing.assert_allclose(stages.coef_[:, [2, 6]], expected, atol=1e-8)


def test_one_stage_is_the_lasso() -> None:
    one = MultiStageFeature(0.15, theta=1.0, n_stages=1, tol=1e-11).fit(X, Y)
    np.testing.assert_allclose(one.coef_, MultiTaskLasso1(0.15, tol=1e-11).fit(X, Y).coef_, atol=1e-10)


def test_too_many_free_features_warn() -> None:
    with pytest.warns(UserWarning, match="free of the penalty"):
        MultiStageFeature(0.001, theta=1e-3, n_stages=2).fit(X[:8], Y[:8])
