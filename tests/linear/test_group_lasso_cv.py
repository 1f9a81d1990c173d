from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.utils.estimator_checks import check_estimator

from taskloom.errors import DataError
from taskloom.linear import DirtyModel, DirtyModelCV, MultiTaskGroupLasso, MultiTaskGroupLassoCV
from taskloom.task_column import TaskStratifiedKFold

RNG = np.random.default_rng(11)
TASKS = RNG.permutation(np.repeat([0, 1, 2], (32, 46, 29)))
FEATURES = RNG.normal(size=(107, 5)) + 10  # far from 0: sums lose digits unless they are taken from the mean
X = np.column_stack([TASKS, FEATURES])
COEF = np.column_stack([RNG.normal(size=(3, 2)), np.zeros((3, 3))])
Y = np.einsum("nd,nd->n", FEATURES, COEF[TASKS]) + RNG.normal(size=107)
ALPHAS = (1.0, 0.2, 0.03)


@pytest.mark.parametrize("model", [MultiTaskGroupLassoCV, DirtyModelCV])
def test_scikit_learn_finds_nothing(model: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(model(n_alphas=4, cv=2, tol=1e-13), on_skip=None)


def by_hand(make: Any, ways: dict[str, Any], table: Any, average: str) -> np.ndarray:
    errors = np.empty((3, 3))
    for fold, (train, test) in enumerate(TaskStratifiedKFold(3, task_feature=0).split(X)):
        for place, alpha in enumerate(ALPHAS):
            single = make(alpha).set_params(task_feature=0, tol=1e-10, **ways).fit(table[train], Y[train])
            squares = (Y[test] - single.predict(table[test])) ** 2
            of_tasks = [squares[TASKS[test] == task].mean() for task in range(3)]
            errors[place, fold] = squares.mean() if average == "micro" else np.mean(of_tasks)
    return errors


WAYS: list[dict[str, Any]] = [
    {},
    {"fit_intercept": False},
    {"loss_weights": "task"},
    {"loss_weights": [1.0, 2.0, 3.0]},
]


@pytest.mark.parametrize("ways", WAYS, ids=["plain", "no_intercept", "by_task", "by_numbers"])
def test_the_path_is_what_single_fits_say(ways: dict[str, Any]) -> None:
    """Sums of all rows minus those of a fold, against fits on the other rows."""
    model = MultiTaskGroupLassoCV(ALPHAS, cv=3, task_feature=0, tol=1e-10, **ways).fit(X, Y)
    expected = by_hand(MultiTaskGroupLasso, ways, X, "micro")
    np.testing.assert_allclose(model.mse_path_, expected, rtol=1e-5)
    assert model.alpha_ == ALPHAS[np.argmin(expected.mean(axis=1))]
    again = MultiTaskGroupLasso(model.alpha_, task_feature=0, tol=1e-10, **ways).fit(X, Y)
    np.testing.assert_allclose(model.coef_, again.coef_, atol=1e-6)


def test_sparse_tables_and_means_over_tasks() -> None:
    """From the data of every fold: no sums of sparse rows are made."""
    model = MultiTaskGroupLassoCV(ALPHAS, cv=3, task_feature=0, tol=1e-10, average="macro").fit(csr_array(X), Y)
    np.testing.assert_allclose(model.mse_path_, by_hand(MultiTaskGroupLasso, {}, X, "macro"), rtol=1e-5)


def test_shared_rows() -> None:
    wide = FEATURES @ RNG.normal(size=(5, 2)) + RNG.normal(size=(107, 2))
    shared = MultiTaskGroupLassoCV(ALPHAS, cv=3, tol=1e-10).fit(FEATURES, wide)
    weighted = MultiTaskGroupLassoCV(ALPHAS, cv=3, tol=1e-10)
    weighted.fit(FEATURES, wide, sample_weight=np.column_stack([np.ones(107), np.ones(107)]))
    np.testing.assert_allclose(shared.mse_path_, weighted.mse_path_, rtol=1e-6)
    assert shared.coef_.shape == (2, 5)


def test_parameters_reach_the_penalty() -> None:
    ways = {"q": np.inf, "l2": 0.1, "feature_weights": np.array([1.0, 2.0, 1.0, 0.0, 1.0])}
    model = MultiTaskGroupLassoCV([0.2], task_feature=0, **ways).fit(X, Y)
    single = MultiTaskGroupLasso(0.2, task_feature=0, **ways).fit(X, Y)
    np.testing.assert_array_equal(model.coef_, single.coef_)
    assert model.selected_features_.tolist() == single.selected_features_.tolist()
    with pytest.raises(DataError, match="q="):
        MultiTaskGroupLassoCV(q=0.5, task_feature=0).fit(X, Y)


def test_the_ratio_of_the_dirty_model() -> None:
    model = DirtyModelCV([0.3], ratio=2.0, task_feature=0, tol=1e-9).fit(X, Y)
    single = DirtyModel(0.3, alpha_specific=0.15, task_feature=0, tol=1e-9).fit(X, Y)
    np.testing.assert_allclose(model.coef_, single.coef_, atol=1e-8)
    np.testing.assert_allclose(model.coef_shared_ + model.coef_specific_, model.coef_)
    middle = DirtyModelCV([0.3], task_feature=0, tol=1e-9).fit(X, Y)
    np.testing.assert_allclose(middle.coef_, DirtyModel(0.3, task_feature=0, tol=1e-9).fit(X, Y).coef_, atol=1e-8)
    with pytest.raises(DataError, match="ratio"):
        DirtyModelCV(ratio=0.0, task_feature=0).fit(X, Y)
