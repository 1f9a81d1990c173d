from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from taskloom.linear import RobustLowRank, RobustLowRankClassifier, TraceNorm
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(29)
N_TASKS = 10
TASKS = np.repeat(np.arange(N_TASKS), 15)
FEATURES = RNG.normal(size=(150, 5))
NAMES = np.array(list("abcdefghij"), dtype=object)
X = np.column_stack([NAMES[TASKS], FEATURES])
COEF = np.outer(RNG.normal(size=N_TASKS) + 1.5, RNG.normal(size=5))
COEF[3] = 2 * RNG.normal(size=5)
Y = np.einsum("nd,nd->n", FEATURES, COEF[TASKS]) + 0.2 * RNG.normal(size=150)


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha_trace": (-1.0, np.nan), "alpha_outlier": (-1.0, None)}

    def make_estimator(self) -> RobustLowRank:
        return RobustLowRank(0.3, alpha_outlier=0.22, tol=1e-12)

    def for_scaled_targets(self, estimator: RobustLowRank, factor: float) -> RobustLowRank:
        return estimator.set_params(
            alpha_trace=factor * estimator.alpha_trace, alpha_outlier=factor * estimator.alpha_outlier
        )

    def zero_and_less(self, table: Table) -> tuple[RobustLowRank, RobustLowRank]:
        columns = []
        for task in range(3):
            rows = table.tasks == task
            columns.append(table.features[rows].T @ (table.y[rows] - table.y[rows].mean()) * 3 / len(table.y))
        G = np.column_stack(columns)
        factor = max(np.linalg.norm(G, axis=0).max() / 0.22, np.linalg.norm(G, 2) / 0.3)
        return tuple(
            clone(self.make_estimator()).set_params(alpha_trace=0.3 * f, alpha_outlier=0.22 * f)
            for f in (factor, 0.999 * factor)
        )


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha_trace": (-1.0,), "alpha_outlier": (-1.0,)}

    def make_estimator(self) -> RobustLowRankClassifier:
        return RobustLowRankClassifier(0.04, alpha_outlier=0.03, tol=1e-11)


def test_the_outlier_is_found_by_name() -> None:
    model = RobustLowRank(0.5, alpha_outlier=0.4, task_feature=0).fit(X, Y)
    assert model.outlier_tasks_.tolist() == ["d"]
    assert model.rank_ == 1
    np.testing.assert_allclose(model.coef_, model.coef_low_rank_ + model.coef_outlier_)


def test_no_outliers_from_the_strength_of_the_trace_norm_on() -> None:
    trace = TraceNorm(0.3, task_feature=0, tol=1e-12).fit(X, Y)
    model = RobustLowRank(0.3, alpha_outlier=0.3001, task_feature=0, tol=1e-12).fit(X, Y)
    assert len(model.outlier_tasks_) == 0
    np.testing.assert_allclose(model.coef_, trace.coef_, atol=1e-6)
    assert len(RobustLowRank(0.3, alpha_outlier=0.2, task_feature=0).fit(X, Y).outlier_tasks_) > 0


def test_all_are_outliers_from_the_root_of_their_number_on() -> None:
    alone = RobustLowRank(0.1 * np.sqrt(N_TASKS) + 1e-4, alpha_outlier=0.1, task_feature=0, tol=1e-12).fit(X, Y)
    assert alone.rank_ == 0
    for task in (0, 3):
        rows = task == TASKS
        one = TraceNorm(0.1, tol=1e-12).fit(FEATURES[rows], Y[rows])
        np.testing.assert_allclose(alone.coef_[task], one.coef_[0], atol=1e-5)


def test_one_task_has_the_smaller_of_both_strengths() -> None:
    for trace, outlier in ((0.4, 0.7), (0.7, 0.4)):
        model = RobustLowRank(trace, alpha_outlier=outlier, tol=1e-12).fit(FEATURES, Y)
        one = TraceNorm(0.4, tol=1e-12).fit(FEATURES, Y)
        np.testing.assert_allclose(model.coef_, one.coef_, atol=1e-5)


def test_turning_the_features_turns_the_coefficients() -> None:
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    plain = RobustLowRank(0.4, alpha_outlier=0.25, task_feature=0, tol=1e-12).fit(X, Y)
    turned = clone(plain).fit(np.column_stack([NAMES[TASKS], FEATURES @ turn]), Y)
    np.testing.assert_allclose(turned.coef_, plain.coef_ @ turn, atol=1e-5)
    assert turned.objective_ == pytest.approx(plain.objective_, rel=1e-9)
