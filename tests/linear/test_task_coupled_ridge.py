from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from taskloom.errors import DataError
from taskloom.linear import TaskCoupledRidge, TaskCoupledRidgeClassifier
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(40, 5))
TASKS = np.tile([0, 1, 2, 3], 10)
X = np.column_stack([TASKS, FEATURES])
Y = FEATURES @ RNG.normal(size=5) + TASKS
PRECISION = np.array([[2.0, -1.0, 0.0, 0.0], [-1.0, 2.0, -0.5, 0.0], [0.0, -0.5, 1.0, 0.2], [0.0, 0.0, 0.2, 1.5]])


class TestLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0, None), "task_precision": (np.eye(2), -np.eye(3), np.triu(np.ones((3, 3))))}

    def make_estimator(self) -> TaskCoupledRidge:
        return TaskCoupledRidge(0.1)


class TestClassifierLaws(EstimatorLaws):
    out_of_range = {"alpha": (-1.0, None), "task_precision": (np.eye(2),)}

    def make_estimator(self) -> TaskCoupledRidgeClassifier:
        return TaskCoupledRidgeClassifier(0.1, tol=1e-12)


def test_the_normal_equations() -> None:
    model = TaskCoupledRidge(0.3, task_precision=PRECISION, task_feature=0, fit_intercept=False).fit(X, Y)
    gradients = [FEATURES[t == TASKS].T @ (Y - model.predict(X))[t == TASKS] / 10 for t in range(4)]
    np.testing.assert_allclose(np.array(gradients), 0.3 * PRECISION @ model.coef_, atol=1e-12)
    assert 0 <= model.dual_gap_ < 1e-20


def test_one_design_uses_one_basis_and_agrees() -> None:
    targets = RNG.normal(size=(40, 4))
    shared = TaskCoupledRidge(0.3, task_precision=PRECISION).fit(FEATURES, targets)
    long = TaskCoupledRidge(0.3, task_precision=PRECISION, task_feature=0)
    long.fit(np.column_stack([np.tile(np.arange(4), 40), np.repeat(FEATURES, 4, axis=0)]), targets.ravel())
    np.testing.assert_allclose(shared.coef_, long.coef_, atol=1e-12)
    np.testing.assert_allclose(shared.intercept_, long.intercept_, atol=1e-12)


def test_tasks_are_taken_in_the_order_of_their_labels() -> None:
    names = np.array(["c", "a", "d", "b"])  # task 0 is "c", ...
    renamed = np.column_stack([names[TASKS].astype(object), FEATURES])
    permuted = PRECISION[np.ix_(np.argsort(names), np.argsort(names))]
    plain = TaskCoupledRidge(0.3, task_precision=PRECISION, task_feature=0).fit(X, Y)
    other = TaskCoupledRidge(0.3, task_precision=permuted, task_feature=0).fit(renamed, Y)
    np.testing.assert_allclose(other.coef_, plain.coef_[np.argsort(names)], atol=1e-10)


def test_a_singular_precision_that_the_data_complete() -> None:
    """Only deviations from the mean are penalised: the mean is free."""
    precision = np.eye(4) - 0.25
    model = TaskCoupledRidge(1e3, task_precision=precision, task_feature=0, fit_intercept=False).fit(X, Y)
    pooled = np.linalg.lstsq(FEATURES, Y)[0]
    np.testing.assert_allclose(model.coef_, np.tile(pooled, (4, 1)), atol=1e-2)
    assert model.dual_gap_ < 1e-8
    few = np.flatnonzero(TASKS < 4)[:3]
    with pytest.warns(UserWarning, match="singular and the data do not say"):
        TaskCoupledRidge(1.0, task_precision=np.eye(3) - 1 / 3, task_feature=0).fit(X[few], Y[few])
    with pytest.warns(UserWarning, match="singular"):
        TaskCoupledRidgeClassifier(1.0, task_precision=precision, task_feature=0).fit(
            X, np.tile([0, 0, 0, 0, 1, 1, 1, 1], 5)
        )


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        (np.eye(3), r"shape \(3, 3\); expected finite numbers of shape \(4, 4\)"),
        (np.eye(4) + np.eye(4, k=1), "not symmetric"),
        (np.eye(4) - 0.5, "eigenvalue -1; expected a positive definite"),
        (np.full((4, 4), np.nan), "expected finite numbers"),
    ],
    ids=["shape", "asymmetric", "negative", "NaN"],
)
def test_what_is_no_precision(precision: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TaskCoupledRidge(task_precision=precision, task_feature=0).fit(X, Y)


def test_stopping_early_is_said() -> None:
    labels = (np.median(Y) < Y).astype(int)
    model = TaskCoupledRidgeClassifier(1e-4, task_feature=0, max_iter=1, tol=1e-10)
    with pytest.warns(ConvergenceWarning, match=r"stopped after 1 iterations at a duality gap of .*tol=1e-10"):
        model.fit(X, labels)
    assert model.dual_gap_ > 1e-10
