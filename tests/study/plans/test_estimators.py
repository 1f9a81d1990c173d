"""Baselines of scikit-learn: the same numbers as by hand, for every kind of task and however few the classes."""

import dataclasses

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

import taskloom as tl
from taskloom.data.split import RandomSplit
from taskloom.data.table import MultiTaskData
from taskloom.study.plans.estimators import BoostedTrees, Estimators, LinearModel, default_settings_of_trees
from taskloom.study.problem import Problem


def learn(plan, problem, settings):
    learning = plan.learn(problem, settings)
    with pytest.raises(StopIteration) as end:
        next(learning)
    return end.value.value


def inputs(problem, rows):
    return problem.tensors.inputs[rows].double().numpy()


def test_ridge_and_logistic_regression(problem):
    learned = learn(Estimators(LinearModel()), problem, {"penalty": 3.0})
    assert [one.tasks for one in learned] == [(task.name,) for task in problem.tasks]
    for one, task, estimator in (
        (learned[1], "a / b", Ridge(3.0)),
        (learned[2], "passed?", LogisticRegression(C=1 / 3.0, max_iter=2000)),
        (learned[3], "colour", LogisticRegression(C=1 / 3.0, max_iter=2000)),
    ):
        train, test = problem.rows(task, "train"), problem.rows(task, "test")
        column = [other.name for other in problem.tasks].index(task)
        estimator.fit(inputs(problem, train), problem.tensors.targets[train, column].numpy())
        found = one.outputs("test")[task]
        if task == "a / b":
            np.testing.assert_allclose(found[:, 0], estimator.predict(inputs(problem, test)), rtol=1e-6)
            assert one.parameters == 4 + 1
        else:
            kind = problem.tasks[column].kind
            expected = estimator.predict_proba(inputs(problem, test))
            predicted = kind.predict(found)
            np.testing.assert_allclose(predicted, expected[:, 1] if task == "passed?" else expected, atol=1e-5)
        outputs = one.outputs("validation")
        assert one.score == problem.relative_loss(task, outputs[task], "validation")
        assert one.fit is None


def test_boosted_trees(problem):
    settings = default_settings_of_trees()
    one = learn(Estimators(BoostedTrees()), problem, settings)[1]
    train, test = problem.rows("a / b", "train"), problem.rows("a / b", "test")
    expected = HistGradientBoostingRegressor(
        learning_rate=0.1, max_leaf_nodes=15, max_iter=60, l2_regularization=1.0, early_stopping=False, random_state=0
    ).fit(inputs(problem, train), problem.tensors.targets[train, 1].numpy())
    np.testing.assert_allclose(one.outputs("test")["a / b"][:, 0], expected.predict(inputs(problem, test)), rtol=1e-6)
    assert one.parameters == 0


def test_one_estimator_for_all_tasks_is_told_the_task(schools):
    problem = Problem(schools, RandomSplit(), 0)
    plan = Estimators(LinearModel(), pooled=True)
    (one,) = learn(plan, problem, {"penalty": 1e-3})
    assert one.tasks == tuple(task.name for task in schools.tasks)
    assert one.parameters == 3 + 3 + 1  # features, tasks, intercept
    losses = [problem.relative_loss(name, one.outputs("validation")[name], "validation") for name in one.tasks]
    assert one.score == pytest.approx(np.mean(losses))
    for name in one.tasks:
        assert len(one.outputs("test")[name]) == len(problem.rows(name, "test"))
    only = Problem(schools, RandomSplit(), 0, main=("school 1",))
    (other,) = learn(plan, only, {"penalty": 1e-3})
    assert other.score == pytest.approx(losses[1])


def test_a_task_with_one_class_in_its_training_rows():
    """Several data sets: one school in which everybody passed in the training rows."""
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 2))
    data = MultiTaskData.from_tasks(
        {"a": (x, (x[:, 0] > 0).astype(int)), "b": (x, np.r_[np.ones(37, int), np.zeros(3, int)])}, tl.Binary()
    )
    problem = Problem(data, RandomSplit(), 0)
    rows = problem.rows("b", "train")
    zeros = np.flatnonzero((problem.tensors.targets[:, 1] == 0).numpy() & data.mask["b"])
    problem.tensors.targets[np.intersect1d(rows, zeros), 1] = 1.0
    learned = learn(Estimators(LinearModel()), problem, {"penalty": 1.0})
    outputs = learned[1].outputs("test")["b"]
    share = (len(rows) + 0.5) / (len(rows) + 1)
    np.testing.assert_allclose(data.tasks[1].kind.predict(outputs), share, rtol=1e-6)
    assert np.isfinite(learned[1].score)
    assert learned[1].parameters == 0


def test_a_class_that_the_training_rows_lack_costs_a_finite_amount(mixed):
    problem = Problem(mixed, RandomSplit(), 0)
    rows = problem.rows("colour", "train")
    targets = problem.tensors.targets
    targets[rows[targets[rows, 3].numpy() == 2], 3] = 1.0
    one = learn(Estimators(LinearModel()), problem, {"penalty": 1.0})[3]
    probabilities = mixed.tasks[3].kind.predict(one.outputs("test")["colour"])
    assert probabilities.shape[1] == 3
    assert probabilities[:, 2].max() < 1e-5
    assert np.isfinite(one.score)


def test_what_estimators_do_not_fit(mixed, schools):
    assert Estimators(LinearModel()).reason_against(mixed) is None
    assert "too slow" in Estimators(LinearModel(), largest_apart=3).reason_against(mixed)
    pooled = Estimators(LinearModel(), pooled=True)
    assert pooled.reason_against(schools) is None
    assert "different targets" in pooled.reason_against(mixed)
    assert "different kinds" in pooled.reason_against(dataclasses.replace(schools, common_target=False))
    assert "one task" in pooled.reason_against(schools.only("school 0"))
