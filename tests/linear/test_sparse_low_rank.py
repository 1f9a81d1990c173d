from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Lasso

from taskloom.linear import SparseLowRank, SparseLowRankClassifier, TraceNorm
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(23)
TASKS = RNG.permutation(np.repeat([0, 1, 2, 3], (9, 12, 7, 8)))
FEATURES = RNG.normal(size=(36, 5))
X = np.column_stack([TASKS, FEATURES])
COEF = np.outer([1.0, -0.5, 2.0, 1.5], RNG.normal(size=5)) + 3 * (RNG.random((4, 5)) > 0.85)
Y = np.einsum("nd,nd->n", FEATURES, COEF[TASKS]) + 0.4 * RNG.normal(size=36)


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha_sparse": (-1.0, np.nan), "alpha_trace": (-1.0, None), "tau": (-1.0, "half")}

    def make_estimator(self) -> SparseLowRank:
        return SparseLowRank(0.2, alpha_trace=0.3, tol=1e-12)

    def for_scaled_targets(self, estimator: SparseLowRank, factor: float) -> SparseLowRank:
        return estimator.set_params(
            alpha_sparse=factor * estimator.alpha_sparse, alpha_trace=factor * estimator.alpha_trace
        )

    def zero_and_less(self, table: Table) -> tuple[SparseLowRank, SparseLowRank]:
        columns = []
        for task in range(3):
            rows = table.tasks == task
            columns.append(table.features[rows].T @ (table.y[rows] - table.y[rows].mean()) * 3 / len(table.y))
        G = np.column_stack(columns)
        factor = max(np.abs(G).max() / 0.2, np.linalg.norm(G, 2) / 0.3)
        return tuple(
            clone(self.make_estimator()).set_params(alpha_sparse=0.2 * f, alpha_trace=0.3 * f)
            for f in (factor, 0.999 * factor)
        )


class TestBoundedLaws(EstimatorLaws):
    def make_estimator(self) -> SparseLowRank:
        return SparseLowRank(0.2, tau=1.0, tol=1e-12)

    def for_scaled_targets(self, estimator: SparseLowRank, factor: float) -> SparseLowRank:
        return estimator.set_params(alpha_sparse=factor * estimator.alpha_sparse, tau=factor * estimator.tau)


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha_sparse": (-1.0,), "alpha_trace": (-1.0,), "tau": (-1.0,)}

    def make_estimator(self) -> SparseLowRankClassifier:
        return SparseLowRankClassifier(0.02, alpha_trace=0.03, tol=1e-11)


def test_parts_add_up() -> None:
    model = SparseLowRank(0.2, alpha_trace=0.3, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, model.coef_sparse_ + model.coef_low_rank_)
    assert model.coef_sparse_.any()
    assert 0 < model.rank_ < 4


def test_without_entries_it_is_the_trace_norm() -> None:
    """From alpha_sparse = alpha_trace on."""
    trace = TraceNorm(0.3, task_feature=0, tol=1e-12).fit(X, Y)
    model = SparseLowRank(0.3001, alpha_trace=0.3, task_feature=0, tol=1e-12).fit(X, Y)
    assert not model.coef_sparse_.any()
    np.testing.assert_allclose(model.coef_, trace.coef_, atol=1e-6)
    below = SparseLowRank(0.15, alpha_trace=0.3, task_feature=0, tol=1e-12).fit(X, Y)
    assert below.coef_sparse_.any()


def test_without_directions_it_is_the_lasso() -> None:
    """From alpha_trace = sqrt(d T) alpha_sparse on, or with the bound 0."""
    for changes in ({"alpha_trace": 0.2 * np.sqrt(20) + 1e-4}, {"tau": 0.0}):
        model = SparseLowRank(0.2, task_feature=0, tol=1e-12, **changes).fit(X, Y)
        assert not model.coef_low_rank_.any()
        for task in range(4):
            rows = task == TASKS
            share = 4 * rows.sum() / 36  # c_t n_t
            lasso = Lasso(0.2 / share, tol=1e-10, max_iter=100_000).fit(FEATURES[rows], Y[rows])
            np.testing.assert_allclose(model.coef_[task], lasso.coef_, atol=1e-5)


def test_entries_are_thresholded_once() -> None:
    """One toolbox thresholds twice in its step, which zeroes entries from one to two thresholds; its values differ."""
    y = np.array([0.5, 1.5, 2.5, -1.2])
    model = SparseLowRank(1.0 / 4, tau=0.0, fit_intercept=False, tol=1e-12).fit(np.eye(4), y)
    np.testing.assert_allclose(model.coef_[0], [0.0, 0.5, 1.5, -0.2], atol=1e-6)


def test_the_bound_and_the_strength_say_the_same() -> None:
    penalised = SparseLowRank(0.2, alpha_trace=0.3, task_feature=0, tol=1e-12).fit(X, Y)
    tau = np.linalg.norm(penalised.coef_low_rank_, "nuc")
    bounded = SparseLowRank(0.2, tau=tau, task_feature=0, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(bounded.coef_, penalised.coef_, atol=1e-5)
    assert np.linalg.norm(bounded.coef_low_rank_, "nuc") <= tau * (1 + 1e-9)
    assert bounded.objective_ + 0.3 * tau == pytest.approx(penalised.objective_, rel=1e-8)


def test_a_warm_start_after_another_number_of_parts() -> None:
    model = SparseLowRank(0.2, tau=0.0, task_feature=0, warm_start=True).fit(X, Y)
    model.set_params(tau=1.0).fit(X, Y)
    cold = SparseLowRank(0.2, tau=1.0, task_feature=0).fit(X, Y)
    assert model.objective_ == pytest.approx(cold.objective_, rel=1e-5)


def test_no_penalty_is_least_squares_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="without any penalty"):
        model = SparseLowRank(0.0, task_feature=0).fit(X, Y)
    np.testing.assert_array_equal(model.coef_, model.coef_sparse_ + model.coef_low_rank_)
