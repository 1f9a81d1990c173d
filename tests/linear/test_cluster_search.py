"""Clusters by turns, and the formulation without a mean."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from taskloom.errors import DataError
from taskloom.linear import ClusteredTasks, ClusteredTasksClassifier, MeanRegularized
from taskloom.linear._cluster_search import canonical, search_clusters
from taskloom.regularised import Solution
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(43)
KINDS = np.array([[2.0, -1.0, 0.5, 0.0], [-1.0, 1.0, 2.0, 0.0], [0.0, 2.0, -2.0, 1.0]])
MEMBERS = np.array([0, 1, 0, 2, 1, 2, 0])
FEATURES = RNG.normal(size=(25, 4))
Y = FEATURES @ KINDS[MEMBERS].T + 0.3 * RNG.normal(size=(25, 7))
WITHOUT_MEAN = {"eps_between": 0.05, "eps_within": 2.0}
STRENGTHS = {"eps_mean": 0.02, **WITHOUT_MEAN}


def same_clusters(labels: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.array_equal(labels[:, None] == labels, others[:, None] == others))


class TestLaws(EstimatorLaws):
    """Without a mean: CMTL."""

    out_of_range = {
        "formulation": ("cmlt",),
        "eps_between": (0.0, -1.0),
        "eps_within": (1e-3,),
        "n_clusters": (0, 4),
    }

    def make_estimator(self) -> ClusteredTasks:
        return ClusteredTasks(2, formulation="cmtl", eps_between=0.1, eps_within=1.0, tol=1e-12)


class TestClassifierLaws(EstimatorLaws):
    def make_estimator(self) -> ClusteredTasksClassifier:
        return ClusteredTasksClassifier(1, formulation="cmtl", eps_between=0.02, eps_within=0.2, tol=1e-11)


class TestTurnsLaws(EstimatorLaws):
    """A search ends where no turn helps: there is no certificate for the clusters."""

    is_certified = False
    out_of_range = {"n_init": (0, 1.5, True)}

    def make_estimator(self) -> ClusteredTasks:
        return ClusteredTasks(2, eps_mean=0.05, eps_between=0.2, relaxation=False, n_init=3)


@pytest.mark.parametrize("formulation", ["jacob", "cmtl"])
def test_turns_find_the_best_clustering(formulation: str) -> None:
    options = STRENGTHS if formulation == "jacob" else {**WITHOUT_MEAN, "formulation": formulation}
    found = ClusteredTasks(3, relaxation=False, **options).fit(FEATURES, Y)
    assert same_clusters(found.labels_, MEMBERS)
    known = ClusteredTasks(clusters=MEMBERS, **options).fit(FEATURES, Y)
    np.testing.assert_allclose(found.coef_, known.coef_)
    relaxed = ClusteredTasks(3, **options).fit(FEATURES, Y)
    assert same_clusters(relaxed.labels_, MEMBERS)
    assert relaxed.objective_ <= found.objective_ + 1e-6
    sizes = np.bincount(MEMBERS)
    matrix = (MEMBERS[:, None] == MEMBERS) / sizes[MEMBERS]
    np.testing.assert_allclose(found.task_sharing_, matrix)
    assert np.abs(relaxed.task_sharing_ - matrix).max() < 0.15


def test_turns_reach_the_minimum_over_all_clusterings() -> None:
    few = Y[:, :5]
    found = ClusteredTasks(2, relaxation=False, **STRENGTHS).fit(FEATURES, few)
    values = [
        ClusteredTasks(clusters=labels, **STRENGTHS).fit(FEATURES, few).objective_
        for labels in product([0, 1], repeat=5)
        if labels[0] == 0 and len(set(labels)) == 2
    ]
    assert found.objective_ == pytest.approx(min(values), rel=1e-10)


def test_a_search_goes_down_and_takes_the_best_end() -> None:
    coef = np.array([[0.0], [0.1], [5.0], [5.1]])
    visited = []

    def fit_clusters(labels: np.ndarray) -> Solution:
        visited.append(labels.tolist())
        spread = sum(np.ptp(coef[labels == one]) ** 2 for one in range(labels.max() + 1))
        return Solution((coef.T,), np.zeros(4), float(spread), 0.0, 1, True)

    labels, solution = search_clusters(fit_clusters, [np.array([0, 1, 0, 1]), np.array([1, 0, 0, 0])])
    assert labels.tolist() == [0, 0, 1, 1]
    assert solution.objective == pytest.approx(0.02)
    assert visited[0] == [0, 1, 0, 1]
    assert len(visited) == len({tuple(one) for one in visited}), "no clustering is fitted twice"


def test_clusters_are_numbered_by_their_first_task() -> None:
    assert canonical(np.array([7, 2, 7, 5, 2])).tolist() == [0, 1, 0, 2, 1]


def test_relaxed_sharing_is_a_projection_but_for_rounded_eigenvalues() -> None:
    for options, trace in (({"formulation": "cmtl", **WITHOUT_MEAN}, 3), (STRENGTHS, 3)):
        model = ClusteredTasks(3, **options).fit(FEATURES, Y)
        values = np.linalg.eigvalsh(model.task_sharing_)
        assert values.min() > -1e-9
        assert values.max() < 1 + 1e-9
        assert values.sum() == pytest.approx(trace)


def test_both_sides_of_cmtl_have_the_same_value() -> None:
    """``rho1 eta (1 + eta) tr(A (eta I + M)^-1 A')`` on the side of the tasks and on that of the features (cASO).

    The matrix is inverted. One toolbox evaluates ``W' (eta I + M) W`` in the line search of its cASO, and has a
    gradient of M that is not symmetric in its CMTL: its objectives are no references for these two.
    """
    rho1, rho2 = 0.8, 0.2
    strengths = {"eps_between": 2 * rho2, "eps_within": 2 * (rho1 + rho2)}
    model = ClusteredTasks(2, formulation="cmtl", tol=1e-12, **strengths).fit(FEATURES, Y)
    eta = rho2 / rho1
    tasks = model.coef_ @ model.coef_.T @ np.linalg.inv(eta * np.eye(7) + model.task_sharing_)
    features = model.coef_.T @ model.coef_ @ np.linalg.inv(eta * np.eye(4) + model.feature_sharing_)
    penalty = model.objective_ - ((Y - model.predict(FEATURES)) ** 2).sum() / 50
    assert rho1 * eta * (1 + eta) * np.trace(tasks) == pytest.approx(penalty, rel=1e-6)
    assert rho1 * eta * (1 + eta) * np.trace(features) == pytest.approx(penalty, rel=1e-6)
    assert np.trace(model.feature_sharing_) == pytest.approx(2.0)


def test_as_many_directions_as_the_rank_are_ridge() -> None:
    ridge = MeanRegularized(0.3, coupling=1.0).fit(FEATURES, Y)
    for k in (5, 7):  # rank 4: the fifth direction has nothing left to share
        model = ClusteredTasks(k, formulation="cmtl", eps_between=0.3, eps_within=2.0, tol=1e-13).fit(FEATURES, Y)
        np.testing.assert_allclose(model.coef_, ridge.coef_, atol=1e-6)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match='formulation="cmtl"'):
        _ = ClusteredTasks(3, **STRENGTHS).fit(FEATURES, Y).feature_sharing_
    wide = ClusteredTasks(5, formulation="cmtl", **WITHOUT_MEAN).fit(FEATURES, Y)
    np.testing.assert_array_equal(wide.feature_sharing_, np.eye(4))
    with pytest.raises(DataError, match="Did you mean 'cmtl'"):
        ClusteredTasks(3, formulation="cmlt").fit(FEATURES, Y)
