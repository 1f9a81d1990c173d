from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from taskloom.linear import MeanRegularized, TraceNorm, TraceNormClassifier
from taskloom.regularised import RowNorm, SquaredRisk, TaskData, solve
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(17)
TASKS = RNG.permutation(np.repeat([0, 1, 2, 3], (9, 12, 7, 8)))
FEATURES = RNG.normal(size=(36, 5))
X = np.column_stack([TASKS, FEATURES])
COEF = np.outer([1.0, -0.5, 2.0, 1.5], RNG.normal(size=5))
Y = np.einsum("nd,nd->n", FEATURES, COEF[TASKS]) + 0.4 * RNG.normal(size=36)


def gradients(table: Table) -> np.ndarray:
    """Of the squared loss without coefficients, (d, T): each sample counts T / N."""
    columns = []
    for task in np.unique(table.tasks):
        rows = table.tasks == task
        columns.append(table.features[rows].T @ (table.y[rows] - table.y[rows].mean()))
    return np.column_stack(columns) * len(columns) / len(table.y)


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0, np.nan, None), "l2": (-1.0, "much")}

    def make_estimator(self) -> TraceNorm:
        return TraceNorm(0.3, tol=1e-12)

    def for_scaled_targets(self, estimator: TraceNorm, factor: float) -> TraceNorm:
        return estimator.set_params(alpha=factor * estimator.alpha)

    def zero_and_less(self, table: Table) -> tuple[TraceNorm, TraceNorm]:
        largest = np.linalg.norm(gradients(table), 2)
        return tuple(clone(self.make_estimator()).set_params(alpha=f * largest) for f in (1.0, 0.999))


class TestLawsWithRidge(TestLaws):
    def make_estimator(self) -> TraceNorm:
        return TraceNorm(0.3, l2=0.2, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0,), "l2": (-1.0,)}

    def make_estimator(self) -> TraceNormClassifier:
        return TraceNormClassifier(0.05, tol=1e-11)


def test_the_rank_falls_with_the_strength_and_ends_at_0() -> None:
    largest = np.linalg.norm(gradients(Table(FEATURES, Y, TASKS)), 2)
    ranks = [TraceNorm(share * largest, task_feature=0).fit(X, Y).rank_ for share in (0.001, 0.3, 0.9, 1.0)]
    assert ranks == [4, 1, 1, 0]


def test_turning_the_features_turns_the_coefficients() -> None:
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0]
    plain = TraceNorm(0.4, task_feature=0, tol=1e-12).fit(X, Y)
    turned = TraceNorm(0.4, task_feature=0, tol=1e-12).fit(np.column_stack([TASKS, FEATURES @ turn]), Y)
    np.testing.assert_allclose(turned.coef_, plain.coef_ @ turn, atol=1e-6)
    assert turned.objective_ == pytest.approx(plain.objective_, rel=1e-10)


def test_one_task_is_the_norm_of_its_coefficients() -> None:
    """The minimiser of risk + alpha ||a|| is the ridge solution with strength alpha / ||a||."""
    model = TraceNorm(0.5, tol=1e-13).fit(FEATURES, Y)
    ridge = MeanRegularized(0.5 / np.linalg.norm(model.coef_)).fit(FEATURES, Y)
    np.testing.assert_allclose(model.coef_, ridge.coef_, atol=1e-6)


def test_one_feature_is_the_group_lasso() -> None:
    model = TraceNorm(0.3, task_feature=0, fit_intercept=False, tol=1e-12).fit(X[:, :2], Y)
    designs = tuple(X[t == TASKS, 1:2] for t in range(4))
    weights = tuple(np.full(len(one), 4 / 36) for one in designs)
    data = TaskData(designs, tuple(Y[t == TASKS] for t in range(4)), weights, fit_intercept=False)
    group = solve(SquaredRisk(data), RowNorm(0.3), tol=1e-12)
    np.testing.assert_allclose(model.coef_.T, group.coefficients, atol=1e-6)
    assert model.objective_ == pytest.approx(group.objective, rel=1e-10)


def test_the_ridge_alone_is_ridge() -> None:
    ridge = MeanRegularized(0.2, coupling=1.0, task_feature=0).fit(X, Y)
    alone = TraceNorm(0.0, l2=0.2, task_feature=0).fit(X, Y)
    near = TraceNorm(1e-9, l2=0.2, task_feature=0, tol=1e-12).fit(X, Y)
    np.testing.assert_allclose(alone.coef_, ridge.coef_, rtol=1e-10)
    np.testing.assert_allclose(near.coef_, ridge.coef_, atol=1e-5)


def test_the_norm_falls_with_the_strength() -> None:
    norms = [
        np.linalg.norm(TraceNorm(alpha, task_feature=0).fit(X, Y).coef_, "nuc") for alpha in (0.01, 0.1, 0.5, 1.0, 2.0)
    ]
    assert norms == sorted(norms, reverse=True)


def test_no_penalty_is_least_squares_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="without any penalty"):
        model = TraceNorm(0.0, task_feature=0).fit(X, Y)
    assert model.rank_ == 4
    with pytest.raises(ValueError, match="use a positive penalty"):
        TraceNormClassifier(0.0, task_feature=0).fit(X, Y > 0)
