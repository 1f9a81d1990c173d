from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import ElasticNet

from taskloom.errors import DataError
from taskloom.linear import GraphRegularized, GraphRegularizedClassifier, MeanRegularized
from taskloom.testing import EstimatorLaws
from taskloom.testing._estimator_data import Table

RNG = np.random.default_rng(11)
TASKS = RNG.permutation(np.repeat([0, 1, 2, 3], (6, 9, 7, 5)))
FEATURES = RNG.normal(size=(27, 3))
X = np.column_stack([TASKS, FEATURES])
Y = FEATURES @ [1.0, 2.0, -1.0] + TASKS * FEATURES[:, 0] + 0.3 * RNG.normal(size=27)
PAIRS = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 3], [0, 0, 3, 0]])


class TestLaws(EstimatorLaws):
    tasks_are_alike = False
    out_of_range = {
        "alpha": (-1.0,),
        "coupling": (-1.0,),
        "graph": ("circle", np.eye(2), -np.ones((3, 3)), np.triu(np.ones((3, 3)))),
    }

    def make_estimator(self) -> GraphRegularized:
        return GraphRegularized(0.1, graph="path", coupling=2.0)


class TestSparseLaws(EstimatorLaws):
    tasks_are_alike = False
    out_of_range = {"alpha_l1": (-1.0, "strong")}

    def make_estimator(self) -> GraphRegularized:
        return GraphRegularized(0.05, graph="path", coupling=2.0, alpha_l1=0.2, tol=1e-11)

    def for_scaled_targets(self, estimator: GraphRegularized, factor: float) -> GraphRegularized:
        return estimator.set_params(alpha_l1=factor * estimator.alpha_l1)

    def zero_and_less(self, table: Table) -> tuple[GraphRegularized, GraphRegularized]:
        """The largest weighted covariance of a feature with the targets of its task."""
        largest = 0.0
        for task in range(3):
            rows = table.tasks == task
            left = table.y[rows] - table.y[rows].mean()
            largest = max(largest, np.abs(table.features[rows].T @ left).max() * 3 / len(table.y))
        estimator = self.make_estimator()
        return clone(estimator).set_params(alpha_l1=largest), clone(estimator).set_params(alpha_l1=0.999 * largest)


class TestClassifierLaws(EstimatorLaws):
    tasks_are_alike = False

    def make_estimator(self) -> GraphRegularizedClassifier:
        return GraphRegularizedClassifier(0.1, graph="path", coupling=2.0, tol=1e-12)


def test_coupling_0_is_ridge_for_each_task() -> None:
    alone = MeanRegularized(0.2, coupling=1.0, task_feature=0).fit(X, Y)
    for graph in ("path", "complete", PAIRS):
        model = GraphRegularized(0.2, graph=graph, coupling=0.0, task_feature=0).fit(X, Y)
        np.testing.assert_allclose(model.coef_, alone.coef_, rtol=1e-10)


def test_without_edges_it_is_the_elastic_net() -> None:
    model = GraphRegularized(0.1, coupling=0.0, alpha_l1=0.2, task_feature=0, tol=1e-12).fit(X, Y)
    for task in range(4):
        rows = task == TASKS
        share = 4 * rows.sum() / 27  # c_t n_t
        theirs = ElasticNet(0.3 / share, l1_ratio=2 / 3, tol=1e-10, max_iter=100_000).fit(FEATURES[rows], Y[rows])
        np.testing.assert_allclose(model.coef_[task], theirs.coef_, atol=1e-6)


def test_the_complete_graph_is_the_mean() -> None:
    mean = MeanRegularized(0.2, coupling=1 + 4 * 1.5, task_feature=0).fit(X, Y)
    for graph in ("complete", np.ones((4, 4))):
        model = GraphRegularized(0.2, graph=graph, coupling=1.5, task_feature=0).fit(X, Y)
        np.testing.assert_allclose(model.coef_, mean.coef_, rtol=1e-10)


def test_parts_of_the_graph_do_not_know_each_other() -> None:
    model = GraphRegularized(0.2, graph=PAIRS, coupling=4.0, task_feature=0).fit(X, Y)
    first = TASKS < 2
    weights = [4 * 6 / 27, 4 * 9 / 27]  # each sample counts as before
    part = GraphRegularized(0.2, graph=PAIRS[:2, :2], coupling=4.0, task_feature=0, loss_weights=weights)
    part.fit(X[first], Y[first])
    np.testing.assert_allclose(model.coef_[:2], part.coef_, rtol=1e-10)


def test_a_strong_path_has_one_end() -> None:
    model = GraphRegularized(0.2, graph="path", coupling=1e10, task_feature=0).fit(X, Y)
    assert np.ptp(model.coef_, axis=0).max() < 1e-7
    pooled = MeanRegularized(0.2, coupling=1e10, task_feature=0).fit(X, Y)
    np.testing.assert_allclose(model.coef_, pooled.coef_, atol=1e-6)


def test_a_graph_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match=r"graph has shape \(3, 3\) but there are 4 tasks"):
        GraphRegularized(graph=np.ones((3, 3)), task_feature=0).fit(X, Y)
    with pytest.raises(DataError, match="Did you mean 'path'"):
        GraphRegularized(graph="pathe", task_feature=0).fit(X, Y)
    with pytest.raises(DataError, match="Did you mean 'path'"):
        GraphRegularized(0.0, graph="pathe", task_feature=0).fit(X, Y)
