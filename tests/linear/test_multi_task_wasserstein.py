from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from taskloom.linear import (
    MultiTaskGroupLasso,
    MultiTaskGroupLassoClassifier,
    MultiTaskLasso1,
    MultiTaskLasso1Classifier,
    MultiTaskWasserstein,
    MultiTaskWassersteinClassifier,
)
from taskloom.regularised.transport import TransportConjugate
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


class TestClassifierLaws(EstimatorLaws):
    is_linear = False
    out_of_range = {"alpha_sparse": (-1.0,), "alpha_transport": (0.0,), "epsilon": (0.0,), "gamma": (-2.0,)}

    def make_estimator(self) -> MultiTaskWassersteinClassifier:
        return MultiTaskWassersteinClassifier(0.01, alpha_transport=0.05, epsilon=0.2, tol=1e-11)


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


def penalty_of(coef: np.ndarray, conjugate: TransportConjugate) -> float:
    """The conjugate of the conjugate, by a general solver."""
    zero = 2 * conjugate.half(np.zeros(coef.shape)).value

    def negative(flat: np.ndarray) -> tuple[float, np.ndarray]:
        G = flat.reshape(coef.shape)
        up, down = conjugate.half(G), conjugate.half(-G)
        value = up.value + down.value - zero - float((coef * G).sum())
        gradient = (up.coefficients - down.coefficients - coef).ravel()
        return (value, gradient) if np.isfinite(value) else (1e10, 0 * gradient)

    found = minimize(negative, np.zeros(coef.size), jac=True, method="L-BFGS-B", options={"gtol": 1e-11, "ftol": 1e-15})
    return -float(found.fun)


@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercepts", "none"])
def test_the_objective_of_the_classifier_is_risk_plus_penalty(fit_intercept: bool) -> None:
    """And nothing in its neighbourhood is better than its gap says."""
    X, y, _ = neighbours()
    rows, signs = X[:, 1:7], np.where(y + RNG.logistic(size=80) > 0, 1.0, -1.0)
    table, tasks = np.column_stack([X[:, 0], rows]), X[:, 0].astype(int)
    settings = {"alpha_transport": 0.03, "epsilon": 0.2, "task_feature": 0, "fit_intercept": fit_intercept}
    model = MultiTaskWassersteinClassifier(0.01, tol=1e-10, **settings).fit(table, signs)
    places = np.arange(6.0)
    cost = np.subtract.outer(places, places) ** 2
    conjugate = TransportConjugate(cost / cost.mean(), 0.01, 0.03, 0.2, 1.0)

    def objective(coef: np.ndarray, intercept: np.ndarray) -> float:
        margins = signs * (np.einsum("nd,nd->n", rows, coef[tasks]) + intercept[tasks])
        return float(np.logaddexp(0, -margins).sum()) * 5 / 80 + penalty_of(coef, conjugate)

    assert objective(model.coef_, model.intercept_) == pytest.approx(model.objective_, rel=1e-7)
    assert 0 <= model.dual_gap_ <= 1e-10 * 5 * np.log(2)
    generator = np.random.default_rng(7)
    for size in (1e-1, 1e-3):
        other = model.coef_ + size * generator.normal(size=model.coef_.shape)
        assert objective(other, model.intercept_) >= model.objective_ - 1e-9
    twice = MultiTaskWassersteinClassifier(0.01, tol=1e-10, **settings).fit(np.tile(table, (2, 1)), np.tile(signs, 2))
    assert_allclose(twice.common_masses_, model.common_masses_, atol=1e-4)


def test_near_features_help_each_other_to_classify() -> None:
    _, _, coef = neighbours()
    generator = np.random.default_rng(1)
    tasks, features = np.repeat(np.arange(5), 24), generator.normal(size=(120, 60))
    odds = 2 * np.einsum("nd,nd->n", features, coef[tasks])
    X, y = np.column_stack([tasks, features]), odds + generator.logistic(size=120) > 0

    def cosine(make: object) -> float:
        found = [make(strength).fit(X, y).coef_ for strength in (0.01, 0.02, 0.04)]
        return max(float((one * coef).sum() / np.linalg.norm(one) / np.linalg.norm(coef)) for one in found)

    by_place = cosine(
        lambda one: MultiTaskWassersteinClassifier(one, alpha_transport=2 * one, epsilon=0.01, task_feature=0, tol=1e-4)
    )
    assert by_place > cosine(lambda one: MultiTaskLasso1Classifier(one, task_feature=0)) + 0.08
    assert by_place > cosine(lambda one: MultiTaskGroupLassoClassifier(one, task_feature=0)) + 0.2


def test_classes_that_a_plane_separates_have_a_solution() -> None:
    features = RNG.normal(size=(30, 5))
    classes = features[:, 0] > 0
    model = MultiTaskWassersteinClassifier(0.0, alpha_transport=1e-3).fit(1e3 * features, classes)
    assert np.isfinite(model.coef_).all()
    assert (model.predict(1e3 * features) == classes).all()
    with pytest.warns(ConvergenceWarning, match="stopped after 1 iterations"):
        MultiTaskWassersteinClassifier(0.0, alpha_transport=1e-3, max_iter=1).fit(features, classes)


def test_a_task_of_one_class_is_left_out_on_request() -> None:
    features = RNG.normal(size=(20, 4))
    table = np.column_stack([features[:, 0] > 0, features[:, 1] > 0, np.ones(20)]).astype(int)
    with pytest.raises(ValueError, match="task 2 has a single class"):
        MultiTaskWassersteinClassifier().fit(features, table)
    model = MultiTaskWassersteinClassifier(single_class="constant").fit(features, table)
    assert (model.predict(features)[:, 2] == 1).all()
