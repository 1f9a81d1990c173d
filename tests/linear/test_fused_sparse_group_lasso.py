from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.linear_model import Lasso, LinearRegression, MultiTaskLasso

from taskloom.linear import FusedSparseGroupLasso, FusedSparseGroupLassoClassifier
from taskloom.regularised import SparseGroup, SquaredRisk, TaskData, solve
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(41)
FEATURES = RNG.normal(size=(40, 4))
COEF = np.zeros((5, 4))
COEF[2:, 0] = 2.0
COEF[:, 1] = -1.0
Y = FEATURES @ COEF.T + 0.3 * RNG.normal(size=(40, 5))


class TestLaws(EstimatorLaws):
    tasks_are_alike = False
    out_of_range = {
        "alpha_l1": (-1.0, np.nan),
        "alpha_fused": (-1.0, None),
        "alpha_group": (-1.0,),
        "order": ([0, 1], "backwards"),
    }

    def make_estimator(self) -> FusedSparseGroupLasso:
        return FusedSparseGroupLasso(0.1, alpha_fused=0.15, alpha_group=0.2, tol=1e-12)

    def for_scaled_targets(self, estimator: FusedSparseGroupLasso, factor: float) -> FusedSparseGroupLasso:
        names = ("alpha_l1", "alpha_fused", "alpha_group")
        return estimator.set_params(**{name: factor * getattr(estimator, name) for name in names})


class TestVariationLaws(TestLaws):
    """The fused lasso of every feature: nothing else is penalised."""

    def make_estimator(self) -> FusedSparseGroupLasso:
        return FusedSparseGroupLasso(0.0, alpha_fused=0.15, alpha_group=0.0, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    tasks_are_alike = False
    out_of_range = {"alpha_l1": (-1.0,), "alpha_fused": (-1.0,), "alpha_group": (-1.0,)}

    def make_estimator(self) -> FusedSparseGroupLassoClassifier:
        return FusedSparseGroupLassoClassifier(0.01, alpha_fused=0.015, alpha_group=0.02, tol=1e-11)


def data_of(Y: np.ndarray) -> TaskData:
    n, n_tasks = Y.shape
    return TaskData((FEATURES,) * n_tasks, tuple(Y.T), (np.full(n, 1 / n),) * n_tasks, fit_intercept=True)


def test_without_steps_it_is_the_sparse_group_lasso() -> None:
    model = FusedSparseGroupLasso(0.1, alpha_fused=0.0, alpha_group=0.2, tol=1e-12).fit(FEATURES, Y)
    direct = solve(SquaredRisk(data_of(Y)), SparseGroup(0.1, 0.2), tol=1e-12)
    np.testing.assert_allclose(model.coef_.T, direct.coefficients, atol=1e-7)
    near = FusedSparseGroupLasso(0.1, alpha_fused=1e-9, alpha_group=0.2, tol=1e-12).fit(FEATURES, Y)
    np.testing.assert_allclose(near.coef_, model.coef_, atol=1e-5)


def test_one_strength_alone() -> None:
    groups = FusedSparseGroupLasso(0.0, alpha_fused=0.0, alpha_group=0.2, tol=1e-12).fit(FEATURES, Y)
    theirs = MultiTaskLasso(0.2, tol=1e-10, max_iter=100_000).fit(FEATURES, Y)
    np.testing.assert_allclose(groups.coef_, theirs.coef_, atol=1e-6)
    entries = FusedSparseGroupLasso(0.1, alpha_fused=0.0, alpha_group=0.0, tol=1e-12).fit(FEATURES, Y)
    lasso = Lasso(0.1, tol=1e-10, max_iter=100_000).fit(FEATURES, Y)
    np.testing.assert_allclose(entries.coef_, lasso.coef_, atol=1e-6)


def test_strong_steps_give_one_vector() -> None:
    """Then the other two are a lasso of the mean of the tasks, with alpha_l1 + alpha_group / sqrt(T)."""
    model = FusedSparseGroupLasso(0.1, alpha_fused=1e4, alpha_group=0.2, tol=1e-12).fit(FEATURES, Y)
    assert np.ptp(model.coef_, axis=0).max() == 0
    mean = Lasso(0.1 + 0.2 / np.sqrt(5), tol=1e-10).fit(FEATURES, Y.mean(axis=1))
    np.testing.assert_allclose(model.coef_[0], mean.coef_, atol=1e-5)


def test_steps_alone_are_the_fused_lasso() -> None:
    """Against a smooth solver for the steps, split into positive and negative parts."""
    model = FusedSparseGroupLasso(0.0, alpha_fused=0.15, alpha_group=0.0, tol=1e-11).fit(FEATURES, Y)
    assert 0 <= model.dual_gap_ <= 1e-8
    X, targets = FEATURES - FEATURES.mean(axis=0), Y - Y.mean(axis=0)

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        first, up, down = z[:4], z[4:20].reshape(4, 4), z[20:].reshape(4, 4)
        A = first[:, None] + np.cumsum(np.column_stack([np.zeros(4), up - down]), axis=1)
        residuals = targets - X @ A
        G = -X.T @ residuals / 40
        along = np.cumsum(G[:, ::-1], axis=1)[:, ::-1]
        value = (residuals**2).sum() / 80 + 0.15 * (up.sum() + down.sum())
        return value, np.r_[along[:, 0], (along[:, 1:] + 0.15).ravel(), (0.15 - along[:, 1:]).ravel()]

    bounds = [(None, None)] * 4 + [(0, None)] * 32
    found = minimize(objective, np.zeros(36), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-15})
    assert model.objective_ == pytest.approx(found.fun, rel=1e-7)
    assert model.objective_ <= found.fun + model.dual_gap_ + 1e-12


def test_strong_steps_alone_are_least_squares_of_all_tasks() -> None:
    model = FusedSparseGroupLasso(0.0, alpha_fused=100.0, alpha_group=0.0, tol=1e-12).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_[0], LinearRegression().fit(FEATURES, Y.mean(axis=1)).coef_, atol=1e-9)
    assert np.ptp(model.coef_, axis=0).max() == 0


def test_classifiers_need_more_than_steps() -> None:
    with pytest.raises(ValueError, match="alpha_l1 and alpha_group are both 0"):
        FusedSparseGroupLassoClassifier(0.0, alpha_group=0.0).fit(FEATURES, (Y > 0).astype(int))


def test_stretches_and_zeros_are_exact() -> None:
    model = FusedSparseGroupLasso(0.1).fit(FEATURES, Y)
    assert not model.coef_[:, 2:].any()
    assert not model.coef_[:2, 0].any()
    assert np.ptp(model.coef_[2:, 0]) == 0


def test_the_order_is_that_of_time() -> None:
    shuffled = [2, 0, 3, 1, 4]
    plain = FusedSparseGroupLasso(0.1, tol=1e-12).fit(FEATURES, Y)
    told = clone(plain).set_params(order=np.argsort(shuffled)).fit(FEATURES, Y[:, shuffled])
    np.testing.assert_allclose(told.coef_, plain.coef_[shuffled], atol=1e-6)


def test_the_largest_strengths_give_zero() -> None:
    """Without steps at 0, zero is optimal where the gradients of every row are in the dual ball."""
    table = Table(np.repeat(FEATURES, 5, axis=0), Y.ravel(), np.tile(np.arange(5), 40))
    G = FEATURES.T @ (Y - Y.mean(axis=0)) / 40
    most = np.abs(G).max()
    zero = FusedSparseGroupLasso(most, alpha_fused=0.1, alpha_group=0.0, task_feature=0).fit(table.X, table.y)
    assert not zero.coef_.any()
    alone = FusedSparseGroupLasso(0.999 * most, alpha_fused=0.0, alpha_group=0.0, task_feature=0).fit(table.X, table.y)
    assert alone.coef_.any()
