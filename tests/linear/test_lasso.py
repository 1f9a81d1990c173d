from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Lasso, LogisticRegression

from taskloom.linear import MultiTaskLasso1, MultiTaskLasso1Classifier
from taskloom.task_column import stack_tasks
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0, np.nan, None)}

    def make_estimator(self) -> MultiTaskLasso1:
        return MultiTaskLasso1(0.2, tol=1e-12)

    def for_scaled_targets(self, estimator: MultiTaskLasso1, factor: float) -> MultiTaskLasso1:
        return estimator.set_params(alpha=factor * estimator.alpha)

    def zero_and_less(self, table: Table) -> tuple[MultiTaskLasso1, MultiTaskLasso1]:
        largest = 0.0
        for task in np.unique(table.tasks):
            rows = table.tasks == task
            pulls = table.features[rows].T @ (table.y[rows] - table.y[rows].mean())
            largest = max(largest, float(np.abs(pulls).max()) * 3 / len(table.y))
        return tuple(clone(self.make_estimator()).set_params(alpha=f * largest, tol=1e-6) for f in (1.0, 0.999))


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0, np.nan)}

    def make_estimator(self) -> MultiTaskLasso1Classifier:
        return MultiTaskLasso1Classifier(0.04, tol=1e-11)


def test_each_task_is_a_lasso_with_its_own_strength() -> None:
    generator = np.random.default_rng(0)
    designs = [generator.normal(size=(n, 30)) for n in (15, 40, 25)]
    targets = [X[:, :3] @ generator.normal(size=3) + generator.normal(size=len(X)) for X in designs]
    X, y = stack_tasks(designs, targets)
    for way, factors in (("sample", [3 / 80] * 3), ("task", [1 / 15, 1 / 40, 1 / 25])):
        model = MultiTaskLasso1(0.1, task_feature=0, loss_weights=way, tol=1e-12).fit(X, y)
        for task, (design, target, factor) in enumerate(zip(designs, targets, factors, strict=True)):
            alone = Lasso(0.1 / (factor * len(target)), tol=1e-12, max_iter=100_000).fit(design, target)
            np.testing.assert_allclose(model.coef_[task], alone.coef_, atol=1e-6)


def test_one_task_is_the_logistic_regression_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    X = generator.normal(size=(80, 6))
    y = (X[:, 0] - X[:, 1] + generator.normal(size=80) > 0).astype(int)
    model = MultiTaskLasso1Classifier(0.02, fit_intercept=False, tol=1e-12).fit(X, y)
    reference = LogisticRegression(
        C=1 / (80 * 0.02), l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-12, max_iter=10_000
    ).fit(X, y)
    np.testing.assert_allclose(model.coef_, reference.coef_, atol=1e-5)


def test_nothing_passes_from_task_to_task() -> None:
    """Another task changes the strength of "sample" only; with the strength kept, nothing changes."""
    generator = np.random.default_rng(2)
    X, Y = generator.normal(size=(30, 5)), generator.normal(size=(30, 3))
    both = MultiTaskLasso1(0.05, tol=1e-12).fit(X, Y)
    for task in range(3):
        alone = MultiTaskLasso1(0.05, tol=1e-12).fit(X, Y[:, task])
        np.testing.assert_allclose(both.coef_[task], alone.coef_[0], atol=1e-7)
    assert both.objective_ == pytest.approx(
        sum(MultiTaskLasso1(0.05, tol=1e-12).fit(X, Y[:, t]).objective_ for t in range(3)), rel=1e-10
    )
