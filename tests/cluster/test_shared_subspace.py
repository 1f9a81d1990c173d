from __future__ import annotations

import pickle
import warnings
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import check_estimator

from taskloom.cluster import SharedSubspaceClustering
from taskloom.cluster._shared_means import solve_shared_means

RNG = np.random.default_rng(79)
TASKS = RNG.permutation(np.repeat([3, 5, 8], [30, 40, 24]))
KINDS = RNG.integers(0, 3, 94)
COMMON = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])[KINDS] + 0.4 * RNG.normal(size=(94, 2))
SHIFTS = 6 * RNG.normal(size=(9, 4))[TASKS] + 1.5 * RNG.normal(size=(94, 4))
TURN = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
FEATURES = np.column_stack([COMMON, SHIFTS]) @ TURN  # two directions have the kinds; four differ by task
X = np.column_stack([TASKS, FEATURES])


def test_scikit_learn_finds_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_estimator(SharedSubspaceClustering(n_components=1, n_init=2), on_skip=None)


def test_kinds_are_found_where_tasks_are_shifted() -> None:
    model = SharedSubspaceClustering(3, n_components=2, within_weight=0.1, task_feature=0).fit(X)
    assert adjusted_rand_score(KINDS, model.labels_) > 0.95
    pooled = KMeans(3, n_init=10, random_state=0).fit_predict(FEATURES)
    assert adjusted_rand_score(KINDS, pooled) < 0.3
    assert_allclose(model.components_ @ model.components_.T, np.eye(2), atol=1e-12)
    inside = np.linalg.norm(model.components_ @ TURN[:2].T)  # the subspace is that of the kinds
    assert inside == pytest.approx(np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("within", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_components", [1, 2])
def test_it_reaches_the_smallest_of_all_clusterings(within: float, n_components: int) -> None:
    few, tasks = RNG.normal(size=(8, 2)), np.array([0, 0, 0, 1, 1, 1, 1, 1])

    def value(labels: np.ndarray) -> float:
        """By the definition, with the best centres and directions for these labels."""
        own = sum(
            ((few[(tasks == t) & (labels == c)] - few[(tasks == t) & (labels == c)].mean(axis=0)) ** 2).sum()
            for t in range(2)
            for c in range(2)
            if ((tasks == t) & (labels == c)).any()
        )
        rests = few - np.stack([few[labels == c].mean(axis=0) for c in labels])
        shared = np.linalg.eigvalsh(rests.T @ rests)[:n_components].sum()
        return float(within * own + (1 - within) * shared)

    best = min(value(np.array(labels)) for labels in product([0, 1], repeat=8))
    settings = {"n_components": n_components, "within_weight": within, "n_init": 60, "task_feature": 0}
    model = SharedSubspaceClustering(2, **settings).fit(np.column_stack([tasks, few]))
    assert model.objective_ == pytest.approx(value(model.labels_), rel=1e-9)
    assert model.objective_ == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("within", [0.0, 0.2, 0.8, 1.0])
def test_turns_never_rise_and_end_where_no_row_moves(within: float) -> None:
    tasks = np.searchsorted([3, 5, 8], TASKS)
    start = RNG.integers(0, 4, 94)
    settings = {"n_clusters": 4, "n_components": 3, "within": within, "max_iterations": 200}
    found = solve_shared_means(FEATURES, tasks, labels=start, **settings)
    assert found.converged
    assert (np.diff(found.objectives) <= 1e-9 * found.objectives[0]).all()
    again = solve_shared_means(FEATURES, tasks, labels=found.labels, **settings)
    assert np.array_equal(again.labels, found.labels)
    assert len(again.objectives) == 1


def test_own_centres_alone_are_k_means_of_each_task() -> None:
    tasks = np.searchsorted([3, 5, 8], TASKS)
    start = RNG.integers(0, 3, 94)
    found = solve_shared_means(
        FEATURES, tasks, labels=start, n_clusters=3, n_components=2, within=1.0, max_iterations=200
    )
    for task in range(3):
        rows = FEATURES[tasks == task]
        begin = np.stack([rows[start[tasks == task] == c].mean(axis=0) for c in range(3)])
        alone = KMeans(3, init=begin, n_init=1, tol=0.0, algorithm="lloyd").fit(rows)
        assert np.array_equal(alone.labels_, found.labels[tasks == task])


def test_all_directions_alone_are_k_means_of_all_rows() -> None:
    tasks, start = np.searchsorted([3, 5, 8], TASKS), RNG.integers(0, 3, 94)
    found = solve_shared_means(
        FEATURES, tasks, labels=start, n_clusters=3, n_components=6, within=0.0, max_iterations=200
    )
    begin = np.stack([FEATURES[start == c].mean(axis=0) for c in range(3)])
    pooled = KMeans(3, init=begin, n_init=1, tol=0.0, algorithm="lloyd").fit(FEATURES)
    assert np.array_equal(pooled.labels_, found.labels)


def test_predictions() -> None:
    model = SharedSubspaceClustering(3, within_weight=0.1, task_feature=0, unknown_task="shared").fit(X)
    assert np.array_equal(model.predict(X), model.labels_)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.labels_)
    order = RNG.permutation(94)
    assert np.array_equal(model.predict(X[order]), model.labels_[order])
    new = X.copy()
    new[:, 0] = 11
    new[:, 1:] += 7 * TURN[3]  # a task with another shift
    assert adjusted_rand_score(KINDS, model.predict(new)) > 0.9
    with pytest.raises(ValueError, match="not in the data of fit: 11"):
        clone(model).set_params(unknown_task="error").fit(X).predict(new)


def test_the_same_input_gives_the_same_clusters_whatever_the_order_and_names() -> None:
    model = SharedSubspaceClustering(3, within_weight=0.1, task_feature=0).fit(X)
    assert np.array_equal(clone(model).fit(X).labels_, model.labels_)
    named = np.column_stack([np.array(["", "", "", "a", "", "b", "", "", "c"], dtype=object)[TASKS], FEATURES])
    assert np.array_equal(clone(model).fit(named).labels_, model.labels_)
    last = clone(model).set_params(task_feature=-1).fit(np.column_stack([FEATURES, TASKS]))
    assert np.array_equal(last.labels_, model.labels_)


def test_a_cluster_may_be_missing_in_a_task() -> None:
    kept = (TASKS != 5) | (KINDS != 1)
    model = SharedSubspaceClustering(3, within_weight=0.1, task_feature=0).fit(X[kept])
    assert adjusted_rand_score(KINDS[kept], model.labels_) > 0.9
    assert np.isfinite(model.cluster_centers_).all()


def test_an_early_stop_is_reported() -> None:
    with pytest.warns(ConvergenceWarning, match="stopped after 1 turns"):
        SharedSubspaceClustering(8, max_iter=1, n_init=1, task_feature=0).fit(X)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("n_clusters=0; expected a whole number from 1 to the number of rows, 94", {"n_clusters": 0}),
        ("n_clusters=95; ", {"n_clusters": 95}),
        ("n_components=7; expected a whole number from 1 to the number of features, 6", {"n_components": 7}),
        ("within_weight=1.5; expected a number from 0 to 1", {"within_weight": 1.5}),
        ("within_weight=True", {"within_weight": True}),
        ("n_init=0.5", {"n_init": 0.5}),
        ("max_iter=0; expected a whole number of at least 1", {"max_iter": 0}),
        ("unknown_task='mean'", {"unknown_task": "mean"}),
    ],
)
def test_parameters_out_of_range(message: str, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=message):
        SharedSubspaceClustering(task_feature=0).set_params(**changes).fit(X)


def test_tables_that_are_refused() -> None:
    with pytest.raises(ValueError, match="was X scaled"):
        SharedSubspaceClustering(task_feature=0).fit(X / 7)
    with pytest.raises(ValueError, match="stack_tasks"):
        SharedSubspaceClustering(task_feature=0).fit([X, X])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        SharedSubspaceClustering(task_feature=0).fit(np.where(X[4, 2] == X, np.nan, X))
    with pytest.raises(ValueError, match="Reshape your data"):
        SharedSubspaceClustering(task_feature=0).fit(X).predict(X[0])
