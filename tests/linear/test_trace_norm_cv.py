from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from joblib import parallel_config
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import check_estimator

from taskloom.errors import DataError
from taskloom.linear import TraceNorm, TraceNormCV
from taskloom.task_column import TaskStratifiedKFold

RNG = np.random.default_rng(47)
TASKS = RNG.permutation(np.repeat([0, 1, 2], (12, 16, 9)))
FEATURES = RNG.normal(size=(37, 4))
X = np.column_stack([TASKS, FEATURES])
COEF = np.outer([1.0, -0.5, 2.0], RNG.normal(size=4))
Y = np.einsum("nd,nd->n", FEATURES, COEF[TASKS]) + 1.5 * RNG.normal(size=37)
ALPHAS = (2.0, 0.5, 0.05)


def test_scikit_learn_finds_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(TraceNormCV(n_alphas=4, cv=2, tol=1e-9), on_skip=None)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_the_path_is_what_single_fits_say(average: Any) -> None:
    model = TraceNormCV(ALPHAS, cv=3, task_feature=0, average=average, tol=1e-10).fit(X, Y)
    expected = np.empty((3, 3))
    for fold, (train, test) in enumerate(TaskStratifiedKFold(3, task_feature=0).split(X)):
        for place, alpha in enumerate(ALPHAS):
            single = TraceNorm(alpha, task_feature=0, tol=1e-10).fit(X[train], Y[train])
            squares = (Y[test] - single.predict(X[test])) ** 2
            of_tasks = [squares[TASKS[test] == task].mean() for task in range(3)]
            expected[place, fold] = squares.mean() if average == "micro" else np.mean(of_tasks)
    np.testing.assert_allclose(model.mse_path_, expected, rtol=1e-6)
    assert model.alpha_ == ALPHAS[np.argmin(expected.mean(axis=1))]
    again = TraceNorm(model.alpha_, task_feature=0, tol=1e-10).fit(X, Y)
    np.testing.assert_allclose(model.coef_, again.coef_, atol=1e-6)
    assert model.rank_ == again.rank_


def test_a_single_strength_is_a_single_fit() -> None:
    model = TraceNormCV([0.3], l2=0.1, task_feature=0).fit(X, Y)
    single = TraceNorm(0.3, l2=0.1, task_feature=0).fit(X, Y)
    np.testing.assert_array_equal(model.coef_, single.coef_)
    assert model.objective_ == single.objective_


def test_the_path_begins_where_all_is_0() -> None:
    model = TraceNormCV(n_alphas=5, eps=0.1, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(model.alphas_ / model.alphas_[0], np.logspace(0, -1, 5))
    assert not TraceNorm(model.alphas_[0], task_feature=0).fit(X, Y).coef_.any()
    assert TraceNorm(0.999 * model.alphas_[0], task_feature=0).fit(X, Y).coef_.any()
    wide = TraceNormCV(n_alphas=2, cv=2).fit(RNG.normal(size=(6, 9)), RNG.normal(size=(6, 2)))
    assert wide.alphas_[1] / wide.alphas_[0] == pytest.approx(0.01)


def test_one_standard_error_takes_a_larger_strength() -> None:
    best = TraceNormCV(n_alphas=15, task_feature=0).fit(X, Y)
    careful = TraceNormCV(n_alphas=15, task_feature=0, one_standard_error=True).fit(X, Y)
    means = best.mse_path_.mean(axis=1)
    place, chosen = np.argmin(means), list(best.alphas_).index(careful.alpha_)
    most = means[place] + best.mse_path_[place].std(ddof=1) / np.sqrt(5)
    assert careful.alpha_ > best.alpha_
    assert means[chosen] <= most < means[:chosen].min(initial=np.inf)


def test_shared_rows_missing_labels_and_sparse_features() -> None:
    shared = RNG.normal(size=(20, 4))
    targets = shared @ COEF.T + RNG.normal(size=(20, 3))
    plain = TraceNormCV(ALPHAS, cv=4).fit(shared, targets)
    with parallel_config(backend="threading"):
        sparse = TraceNormCV(ALPHAS, cv=4, n_jobs=2).fit(csr_array(shared), targets)
    np.testing.assert_allclose(sparse.mse_path_, plain.mse_path_, rtol=1e-5)
    train, test = next(iter(TaskStratifiedKFold(4, task_feature=None).split(shared)))
    single = TraceNorm(ALPHAS[1]).fit(shared[train], targets[train])
    assert plain.mse_path_[1, 0] == pytest.approx(
        ((targets[test] - single.predict(shared[test])) ** 2).mean(), rel=1e-5
    )
    targets[3:6, 0] = np.nan
    holes = TraceNormCV(ALPHAS, cv=4).fit(shared, targets)
    assert np.isfinite(holes.mse_path_).all()
    assert np.abs(holes.mse_path_ - plain.mse_path_).max() > 1e-6


def test_a_task_of_one_row_does_not_count() -> None:
    more = np.vstack([X, [[7, *FEATURES[0]]]])
    model = TraceNormCV(ALPHAS, cv=3, task_feature=0).fit(more, np.r_[Y, 50.0])
    assert model.mse_path_.max() < 50
    assert model.coef_.shape == (4, 4)


def test_given_folds() -> None:
    pairs = list(KFold(3).split(X))
    model = TraceNormCV(ALPHAS, cv=pairs, task_feature=0).fit(X, Y)
    same = TraceNormCV(ALPHAS, cv=KFold(3), task_feature=0).fit(X, Y)
    np.testing.assert_array_equal(model.mse_path_, same.mse_path_)
    weighted = TraceNormCV(ALPHAS, cv=pairs, task_feature=0).fit(X, Y, sample_weight=np.arange(37) % 3)
    kept = np.arange(37) % 3 > 0
    within = [(np.flatnonzero(np.isin(np.flatnonzero(kept), train)), []) for train, _ in pairs]
    copies = TraceNormCV(ALPHAS, cv=within, task_feature=0).fit(
        X[kept], Y[kept], sample_weight=(np.arange(37) % 3)[kept]
    )
    np.testing.assert_allclose(weighted.mse_path_, copies.mse_path_)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"alphas": [0.1, -1.0]}, "alphas=-1"),
        ({"alphas": []}, "alphas is empty"),
        ({"n_alphas": 0}, "n_alphas=0"),
        ({"eps": 1.5}, "eps=1.5"),
        ({"eps": 0.0}, "eps=0"),
        ({"average": "median"}, "average='median'"),
        ({"l2": -1.0}, "l2=-1"),
        ({"cv": 1}, "cv=1; expected a whole number of at least 2"),
        ({"cv": 50}, "cv=50 but n_samples=37"),
    ],
)
def test_parameters_out_of_range(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        TraceNormCV(task_feature=0, **parameters).fit(X, Y)


def test_paths_that_stop_early_are_reported() -> None:
    with pytest.warns(ConvergenceWarning, match="fits of the paths stopped above tol"):
        TraceNormCV(n_alphas=3, cv=2, max_iter=1, tol=1e-12, task_feature=0).fit(X, Y)
