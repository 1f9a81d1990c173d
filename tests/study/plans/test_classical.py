"""Estimators of several tasks as candidates: the same numbers as by hand, in both layouts, for numbers and classes."""

import dataclasses

import numpy as np
import pytest

import taskloom as tl
from taskloom.data.split import RandomSplit
from taskloom.data.table import MultiTaskData
from taskloom.linear import MeanRegularized, MeanRegularizedClassifier, TraceNorm
from taskloom.study.classical import classical
from taskloom.study.problem import Problem
from taskloom.study.space import default_settings

CANDIDATES = {candidate.name: candidate for candidate in classical()}
NAMES = sorted(CANDIDATES)
MEAN = {"alpha": 0.1, "coupling": 10.0}
WITH_CLASSES = sorted(name for name, one in CANDIDATES.items() if one.plan.takes_classes)


def learn(name, problem, settings=None):
    plan = CANDIDATES[name].plan
    learning = plan.learn(problem, settings or default_settings(plan.space(problem.data)))
    with pytest.raises(StopIteration) as end:
        next(learning)
    return end.value.value


def inputs(problem, rows):
    return problem.tensors.inputs[rows].double().numpy()


def stacked(problem, part):
    rows = [problem.rows(task.name, part) for task in problem.tasks]
    numbers = np.repeat(np.arange(len(rows)), [len(own) for own in rows])
    every = np.concatenate(rows)
    return np.column_stack([numbers, inputs(problem, every)]), problem.tensors.targets[every, numbers].double().numpy()


@pytest.fixture(scope="module")
def several_kinds(mixed):
    """Two tasks with numbers and one with two classes, labels missing."""
    return Problem(mixed.only([task.name for task in mixed.tasks if task.name != "colour"]), RandomSplit(), 0)


@pytest.fixture(scope="module")
def schools_problem(schools):
    return Problem(schools, RandomSplit(), 0)


@pytest.fixture(scope="module")
def binary_schools():
    random = np.random.default_rng(0)
    parts = {}
    for number in range(3):
        x = random.normal(size=(40, 2))
        parts[f"school {number}"] = (x, (x[:, 0] + 0.5 * random.normal(size=40) > 0).astype(np.int64))
    return MultiTaskData.from_tasks(parts, tl.Binary())


def test_several_data_sets_are_one_table_with_a_task_column(schools_problem):
    (one,) = learn("mean_regularised", schools_problem, MEAN)
    x, y = stacked(schools_problem, "train")
    expected = MeanRegularized(0.1, coupling=10.0, task_feature=0).fit(x, y)
    found = np.concatenate([one.outputs("test")[task.name][:, 0] for task in schools_problem.tasks])
    np.testing.assert_allclose(found, expected.predict(stacked(schools_problem, "test")[0]), rtol=1e-6)
    assert one.tasks == tuple(task.name for task in schools_problem.tasks)
    assert one.parameters == 3 * 3 + 3
    assert one.fit is None
    outputs = one.outputs("validation")
    losses = [schools_problem.relative_loss(name, outputs[name], "validation") for name in one.tasks]
    assert one.score == pytest.approx(np.mean(losses))


def test_targets_of_the_same_rows_are_one_table_with_missing_labels(several_kinds):
    numbers, classes = learn("mean_regularised", several_kinds, MEAN)
    names = [task.name for task in several_kinds.tasks]
    assert numbers.tasks == tuple(names[:2])
    assert classes.tasks == (names[2],)
    every = np.unique(np.concatenate([several_kinds.rows(name, "train") for name in names[:2]]))
    known = several_kinds.tensors.mask[every][:, :2].numpy()
    targets = np.where(known, several_kinds.tensors.targets[every][:, :2].double().numpy(), np.nan)
    assert np.isnan(targets).any()
    expected = MeanRegularized(0.1, coupling=10.0).fit(inputs(several_kinds, every), targets)
    for column, name in enumerate(names[:2]):
        test = several_kinds.rows(name, "test")
        np.testing.assert_allclose(
            numbers.outputs("test")[name][:, 0], expected.predict(inputs(several_kinds, test))[:, column], rtol=1e-6
        )
    own = several_kinds.rows(names[2], "train")
    twin = MeanRegularizedClassifier(0.1, coupling=10.0)
    twin.fit(inputs(several_kinds, own), several_kinds.tensors.targets[own, 2].numpy())
    test = several_kinds.rows(names[2], "test")
    np.testing.assert_allclose(
        classes.outputs("test")[names[2]][:, 0], twin.decision_function(inputs(several_kinds, test)), rtol=1e-4
    )


def test_the_strength_is_a_share_of_that_which_leaves_nothing(schools_problem):
    (nothing,) = learn("trace_norm", schools_problem, {"strength": 1.0})
    assert nothing.parameters == 3  # intercepts
    (something,) = learn("trace_norm", schools_problem, {"strength": 0.99})
    assert something.parameters > 3
    (half,) = learn("trace_norm", schools_problem, {"strength": 0.5})
    x, y = stacked(schools_problem, "train")
    gradients = [
        inputs.T @ (targets - targets.mean()) * 3 / len(y)
        for inputs, targets in ((x[x[:, 0] == number, 1:], y[x[:, 0] == number]) for number in range(3))
    ]
    largest = np.linalg.norm(np.column_stack(gradients), 2)
    expected = TraceNorm(0.5 * largest, task_feature=0).fit(x, y).predict(stacked(schools_problem, "test")[0])
    found = np.concatenate([half.outputs("test")[task.name][:, 0] for task in schools_problem.tasks])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_method_beats_the_mean_in_both_layouts(name, schools_problem, several_kinds):
    (one,) = learn(name, schools_problem)
    assert one.score < 0.5
    problem = several_kinds
    if name not in WITH_CLASSES:
        problem = Problem(problem.data.only([task.name for task in problem.tasks[:2]]), RandomSplit(), 0)
    for group in learn(name, problem):
        assert group.score < 0.95
        for task in group.tasks:
            for part in ("validation", "test"):
                assert group.outputs(part)[task].shape == (len(problem.rows(task, part)), 1)


@pytest.mark.parametrize("name", WITH_CLASSES)
def test_two_classes_and_a_task_that_shows_one(name, binary_schools):
    problem = Problem(binary_schools, RandomSplit(), 0)
    (one,) = learn(name, problem)
    assert one.score < 0.9
    rows = problem.rows("school 1", "train")
    problem.tensors.targets[rows, 1] = 1.0
    (one,) = learn(name, problem)
    share = (len(rows) + 0.5) / (len(rows) + 1)
    np.testing.assert_allclose(problem.tasks[1].kind.predict(one.outputs("test")["school 1"]), share, rtol=1e-6)
    for number in (0, 2):
        problem.tensors.targets[problem.rows(f"school {number}", "train"), number] = 0.0
    (one,) = learn(name, problem)
    assert one.parameters == 0
    assert np.isfinite(one.outputs("test")["school 0"]).all()


def test_the_main_task_makes_the_score(schools):
    problem = Problem(schools, RandomSplit(), 0, main=("school 1",))
    (one,) = learn("mean_regularised", problem, MEAN)
    assert one.score == pytest.approx(
        problem.relative_loss("school 1", one.outputs("validation")["school 1"], "validation")
    )


def test_what_the_estimators_do_not_fit(mixed, schools, binary_schools):
    plan = CANDIDATES["trace_norm"].plan
    assert plan.reason_against(schools) is None
    assert "'colour' has 3 classes" in plan.reason_against(mixed)
    assert "only one task" in plan.reason_against(schools.only("school 0"))
    two = mixed.only(["a / b", "passed?"])
    assert "no two tasks are of the same kind" in plan.reason_against(two)
    assert "takes numbers only" in CANDIDATES["hierarchical_bayes"].plan.reason_against(binary_schools)
    small = dataclasses.replace(plan, most_tasks=2, most_labels=10)
    assert "3 tasks" in small.reason_against(schools)
    assert "93 labels" in dataclasses.replace(small, most_tasks=None).reason_against(schools)
    shared = mixed.only([task.name for task in mixed.tasks[:2]])
    assert "90 labels" in dataclasses.replace(plan, most_labels=89).reason_against(shared)


def test_in_a_comparison(schools, tmp_path):
    results = tl.compare(
        schools,
        candidates=["mean_regularised", "trace_norm"],
        seeds=1,
        budget=1,
        out=tmp_path / "run",
        workers=1,
        progress=False,
    )
    assert results.candidates == ("single_task", "hard_sharing", "mean_regularised", "trace_norm")
