from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from taskloom.linear import MultiTaskGroupLasso, MultiTaskLasso1, MultiTaskWasserstein
from taskloom.testing import EstimatorLaws

RNG = np.random.default_rng(89)


class TestLaws(EstimatorLaws):
    is_linear = False  # the order of the features says where they are
    follows_scale = False  # masses are compared with the entropy, which does not grow with them
    out_of_range = {
        "alpha_sparse": (-1.0, np.nan),
        "alpha_transport": (0.0, -1.0),
        "epsilon": (0.0, None),
        "gamma": (0.0, -2.0),
        "cost": (np.ones((4, 4)), np.zeros((3, 3)), -1 + np.eye(4), "far", np.where(np.eye(4) == 1, 0, np.inf)),
    }

    def make_estimator(self) -> MultiTaskWasserstein:
        return MultiTaskWasserstein(0.05, alpha_transport=0.2, epsilon=0.2, tol=1e-12)


def neighbours() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fewer rows than features; each task has its features next to those of the others."""
    coef = np.zeros((5, 60))
    for task in range(5):
        coef[task, 20 + task] = 2.0
        coef[task, 45 - task] = -1.5
    tasks = np.repeat(np.arange(5), 16)
    features = RNG.normal(size=(80, 60))
    y = np.einsum("nd,nd->n", features, coef[tasks]) + 0.5 * RNG.normal(size=80)
    return np.column_stack([tasks, features]), y, coef


def test_near_features_help_each_other() -> None:
    X, y, coef = neighbours()

    def error(make: object, strengths: tuple[float, ...]) -> float:
        return min(np.linalg.norm(make(one).fit(X, y).coef_ - coef) / np.linalg.norm(coef) for one in strengths)

    strengths = (0.03, 0.06, 0.1, 0.2, 0.4, 0.8)
    by_place = error(
        lambda one: MultiTaskWasserstein(one, alpha_transport=2 * one, epsilon=0.01, task_feature=0), strengths
    )
    assert by_place < 0.85 * error(lambda one: MultiTaskLasso1(one, task_feature=0), strengths)
    assert by_place < 0.85 * error(lambda one: MultiTaskGroupLasso(one, task_feature=0), strengths)


def test_common_masses_lie_between_those_of_the_tasks() -> None:
    X, y, _ = neighbours()
    model = MultiTaskWasserstein(0.1, alpha_transport=1.0, epsilon=0.01, task_feature=0).fit(X, y)
    assert model.common_masses_.shape == (2, 60)
    assert 20 <= model.common_masses_[0].argmax() <= 24
    assert 41 <= model.common_masses_[1].argmax() <= 45


def test_the_cost_says_where_features_are() -> None:
    X, y, _ = neighbours()
    order = RNG.permutation(60)
    places = np.arange(60.0)
    cost = np.subtract.outer(places, places) ** 2
    cost /= cost.mean()
    settings = {"alpha_transport": 0.2, "task_feature": 0, "tol": 1e-10}
    plain = MultiTaskWasserstein(0.1, **settings).fit(X, y)
    given = MultiTaskWasserstein(0.1, cost=cost, **settings).fit(X, y)
    assert_allclose(given.coef_, plain.coef_, atol=1e-9)
    shuffled = np.column_stack([X[:, 0], X[:, 1:][:, order]])
    turned = MultiTaskWasserstein(0.1, cost=cost[np.ix_(order, order)], **settings).fit(shuffled, y)
    assert_allclose(turned.coef_, plain.coef_[:, order], atol=1e-5)
    mirrored = MultiTaskWasserstein(0.1, **settings).fit(X, -y)  # the parts change places
    assert_allclose(mirrored.coef_, -plain.coef_, atol=1e-5)
    assert_allclose(mirrored.common_masses_, plain.common_masses_[::-1], atol=1e-5)


def test_a_task_without_labels_has_what_is_common() -> None:
    features = RNG.normal(size=(12, 4))
    Y = np.column_stack([features[:, 0], features[:, 1], np.full(12, np.nan)])
    with pytest.warns(UserWarning, match="no labels"):
        model = MultiTaskWasserstein(0.05).fit(features, Y)
    assert model.coef_[2].argmax() == model.common_masses_[0].argmax()
    assert model.intercept_[2] == 0
