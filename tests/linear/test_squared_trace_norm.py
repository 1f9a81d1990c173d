from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge

from taskloom.linear import SquaredTraceNorm, SquaredTraceNormClassifier, TaskCoupledRidge, TraceNorm
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(19)
TASKS = RNG.permutation(np.repeat([0, 1, 2], (12, 14, 10)))
FEATURES = RNG.normal(size=(36, 5))
X = np.column_stack([TASKS, FEATURES])
COMMON = RNG.normal(size=5)
COEF = np.stack([COMMON, -1.2 * COMMON, RNG.normal(size=5)])
Y = np.einsum("nd,nd->n", FEATURES, COEF[TASKS]) + 0.3 * RNG.normal(size=36)


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0, np.nan), "alpha_ridge": (-1.0, None)}

    def make_estimator(self) -> SquaredTraceNorm:
        return SquaredTraceNorm(0.1, tol=1e-12)


class TestLawsWithRidge(TestLaws):
    def make_estimator(self) -> SquaredTraceNorm:
        return SquaredTraceNorm(0.1, alpha_ridge=0.05, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0,), "alpha_ridge": (-1.0,)}

    def make_estimator(self) -> SquaredTraceNormClassifier:
        return SquaredTraceNormClassifier(0.05, alpha_ridge=0.01, tol=1e-11)


def test_it_is_the_trace_norm_with_another_strength() -> None:
    model = SquaredTraceNorm(0.05, task_feature=0, tol=1e-13).fit(X, Y)
    strength = 0.05 * np.linalg.norm(model.coef_, "nuc")
    other = TraceNorm(strength, task_feature=0, tol=1e-13).fit(X, Y)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-6)
    assert model.rank_ == other.rank_


def test_with_the_learnt_covariance_fixed_it_is_a_coupled_ridge() -> None:
    """The relation found is the best for the coefficients, and they are the best for it (rank 3 of 3)."""
    model = SquaredTraceNorm(0.01, alpha_ridge=0.02, task_feature=0, tol=1e-14).fit(X, Y)
    assert np.trace(model.task_covariance_) == pytest.approx(1.0)
    precision = 0.01 * np.linalg.inv(model.task_covariance_) + 0.02 * np.eye(3)
    ridge = TaskCoupledRidge(1.0, task_precision=(precision + precision.T) / 2, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, ridge.coef_, atol=1e-5)
    assert ridge.objective_ == pytest.approx(model.objective_, rel=1e-8)


def test_both_sides_have_the_same_value() -> None:
    """``||A||_*^2`` is tr(A Omega^-1 A') and tr(A' D^+ A) at the learnt covariances."""
    model = SquaredTraceNorm(0.01, task_feature=0, tol=1e-12).fit(X, Y)
    square = np.linalg.norm(model.coef_, "nuc") ** 2
    tasks = np.trace(model.coef_.T @ np.linalg.pinv(model.task_covariance_, rcond=1e-9) @ model.coef_)
    features = np.trace(model.coef_ @ np.linalg.pinv(model.feature_covariance_, rcond=1e-9) @ model.coef_.T)
    assert tasks == pytest.approx(square)
    assert features == pytest.approx(square)
    assert np.trace(model.feature_covariance_) == pytest.approx(1.0)
    assert model.feature_covariance_.shape == (5, 5)


def test_signs_of_relations_are_found() -> None:
    correlation = SquaredTraceNorm(0.05, task_feature=0).fit(X, Y).task_correlation_
    assert correlation[0, 1] < -0.9
    assert abs(correlation[0, 2]) < 0.7
    np.testing.assert_array_equal(np.diag(correlation), 1.0)
    np.testing.assert_allclose(correlation, correlation.T)


def test_one_task_is_ridge_and_logistic_regression() -> None:
    model = SquaredTraceNorm(0.2, alpha_ridge=0.1).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_[0], Ridge(0.3 * 36).fit(FEATURES, Y).coef_)
    np.testing.assert_allclose(model.task_covariance_, [[1.0]])
    labels = (Y > 0).astype(int)
    twin = SquaredTraceNormClassifier(0.2, alpha_ridge=0.1, tol=1e-12).fit(FEATURES, labels)
    theirs = LogisticRegression(C=1 / (36 * 0.3), tol=1e-10, max_iter=10_000).fit(FEATURES, labels)
    np.testing.assert_allclose(twin.coef_, theirs.coef_, atol=1e-5)


def test_the_ridge_alone_is_ridge() -> None:
    alone = SquaredTraceNorm(0.0, alpha_ridge=0.3, task_feature=0).fit(X, Y)
    for task in range(3):
        rows = task == TASKS
        np.testing.assert_allclose(alone.coef_[task], Ridge(0.1 * 36).fit(FEATURES[rows], Y[rows]).coef_)


def test_targets_that_say_nothing() -> None:
    model = SquaredTraceNorm(0.1, task_feature=0).fit(X, np.ones(36))
    assert not model.coef_.any()
    np.testing.assert_allclose(model.task_covariance_, np.eye(3) / 3)
    np.testing.assert_array_equal(model.task_correlation_, np.eye(3))


def test_covariances_before_fit() -> None:
    with pytest.raises(NotFittedError):
        _ = SquaredTraceNorm().task_covariance_
