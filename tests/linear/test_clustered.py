from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.linear import ClusteredTasks, ClusteredTasksClassifier, MeanRegularized, TaskCoupledRidge
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(13)
TASKS = RNG.permutation(np.repeat([0, 1, 2, 3], (9, 12, 7, 8)))
FEATURES = RNG.normal(size=(36, 3))
X = np.column_stack([TASKS, FEATURES])
KINDS = np.array([[2.0, -1.0, 0.5], [-1.0, 1.0, 2.0]])
Y = np.einsum("nd,nd->n", FEATURES, KINDS[[0, 1, 0, 1]][TASKS]) + 0.3 * RNG.normal(size=36)
STRENGTHS = {"eps_mean": 0.05, "eps_between": 0.2, "eps_within": 1.0}


class TestLaws(EstimatorLaws):
    out_of_range = {
        "n_clusters": (0, 4, 1.5, True),
        "eps_mean": (0.0, -1.0),
        "eps_between": (1e-3,),
        "eps_within": (1e-3,),
        "clusters": ([0, 1], {0: "a"}),
    }

    def make_estimator(self) -> ClusteredTasks:
        return ClusteredTasks(2, **STRENGTHS, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    def make_estimator(self) -> ClusteredTasksClassifier:
        return ClusteredTasksClassifier(2, eps_mean=0.02, eps_between=0.05, eps_within=0.2, tol=1e-10)


def test_equal_strengths_are_ridge_for_each_task() -> None:
    ridge = MeanRegularized(0.3, coupling=1.0, task_feature=0).fit(X, Y)
    equal = {"eps_mean": 0.3, "eps_between": 0.3, "eps_within": 0.3, "task_feature": 0}
    for model in (ClusteredTasks(clusters=[0, 1, 0, 1], **equal), ClusteredTasks(2, **equal)):
        np.testing.assert_allclose(model.fit(X, Y).coef_, ridge.coef_, rtol=1e-10)


def test_one_cluster_and_as_many_as_tasks_are_the_mean() -> None:
    within = MeanRegularized(0.05, coupling=1.0 / 0.05, task_feature=0).fit(X, Y)
    between = MeanRegularized(0.05, coupling=0.2 / 0.05, task_feature=0).fit(X, Y)
    for clusters, n_clusters, reference in (([0, 0, 0, 0], 1, within), ([0, 1, 2, 3], 4, between)):
        known = ClusteredTasks(clusters=clusters, task_feature=0, **STRENGTHS).fit(X, Y)
        found = ClusteredTasks(n_clusters, task_feature=0, **STRENGTHS).fit(X, Y)
        np.testing.assert_allclose(known.coef_, reference.coef_, rtol=1e-9)
        np.testing.assert_allclose(found.coef_, reference.coef_, rtol=1e-9)
        assert len(set(found.labels_)) == n_clusters


def test_the_relaxation_is_below_every_clustering() -> None:
    relaxed = ClusteredTasks(2, task_feature=0, tol=1e-10, **STRENGTHS).fit(X, Y)
    values = {}
    for labels in product([0, 1], repeat=4):
        if len(set(labels)) == 2:
            values[labels] = ClusteredTasks(clusters=labels, task_feature=0, **STRENGTHS).fit(X, Y).objective_
    assert relaxed.objective_ <= min(values.values()) + 1e-9
    lower = MeanRegularized(0.05, coupling=0.2 / 0.05, task_feature=0).fit(X, Y)  # no tie within clusters at all
    assert relaxed.objective_ >= lower.objective_
    best = min(values, key=lambda labels: values[labels])
    assert best in ((0, 1, 0, 1), (1, 0, 1, 0))
    assert tuple(relaxed.labels_ == relaxed.labels_[0]) == tuple(np.array(best) == best[0])


def test_the_reported_precision_is_that_of_the_solution() -> None:
    """With the precision fixed, the coupled ridge has the same coefficients: the chosen one is optimal for them."""
    for model in (
        ClusteredTasks(2, task_feature=0, tol=1e-13, **STRENGTHS).fit(X, Y),
        ClusteredTasks(clusters=list("abab"), task_feature=0, **STRENGTHS).fit(X, Y),
    ):
        same = TaskCoupledRidge(1.0, task_precision=model.task_precision_, task_feature=0).fit(X, Y)
        np.testing.assert_allclose(model.coef_, same.coef_, atol=1e-5)
        assert same.objective_ == pytest.approx(model.objective_, rel=1e-8)


def test_clusters_by_position_or_by_name() -> None:
    listed = ClusteredTasks(clusters=["u", "v", "u", "v"], task_feature=0).fit(X, Y)
    named = ClusteredTasks(clusters={3: "v", 1: "v", 0: "u", 2: "u"}, task_feature=0).fit(X, Y)
    np.testing.assert_array_equal(listed.coef_, named.coef_)
    assert listed.labels_.tolist() == named.labels_.tolist() == [0, 1, 0, 1]


def test_clusters_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"clusters says nothing about the tasks \[3\]"):
        ClusteredTasks(clusters={0: 0, 1: 0, 2: 1}, task_feature=0).fit(X, Y)
    with pytest.raises(DataError, match=r"clusters has shape \(2,\) but there are 4 tasks"):
        ClusteredTasks(clusters=[0, 1], task_feature=0).fit(X, Y)
    with pytest.raises(DataError, match="n_clusters=3 but clusters has 2 clusters"):
        ClusteredTasks(3, clusters=[0, 1, 0, 1], task_feature=0).fit(X, Y)
    with pytest.raises(DataError, match="from 1 to the number of tasks, 4"):
        ClusteredTasks(5, task_feature=0).fit(X, Y)
