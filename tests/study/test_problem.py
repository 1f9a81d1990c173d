"""One replication: paired splits and initial weights, scores and metrics as scikit-learn computes them."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

import taskloom as tl
from taskloom._rng import initial_weights
from taskloom.data.split import RandomSplit
from taskloom.errors import TaskError
from taskloom.study.catalogue import catalogue
from taskloom.study.problem import Problem
from taskloom.study.space import default_settings


def first_training(candidate, problem):
    settings = default_settings(candidate.plan.space(problem.data))
    return next(candidate.plan.learn(problem, settings))[0]


def test_splits_and_encoders_are_paired_over_candidates(mixed):
    same, again, other = (Problem(mixed, RandomSplit(), seed) for seed in (3, 3, 4))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(same.split, part), getattr(again.split, part))
        assert not np.array_equal(getattr(same.split, part), getattr(other.split, part))
    start = {}
    for candidate in catalogue():
        if candidate.name in ("single_task", "hard_sharing", "hard_sharing_uncertainty", "hard_sharing_pcgrad"):
            training = first_training(candidate, same)
            start[candidate.name] = training.model.get_submodule("encoder").state_dict()
            assert training.seed == 3
    expected = start.pop("hard_sharing")
    for state in start.values():
        assert all(torch.equal(state[name], expected[name]) for name in expected)
    changed = first_training(catalogue()[1], other).model.get_submodule("encoder").state_dict()
    assert not all(torch.equal(changed[name], expected[name]) for name in expected)


def test_initial_weights_leave_the_users_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with initial_weights(0):
        first = torch.rand(2)
    assert torch.equal(torch.rand(3), expected)
    with initial_weights(0):
        assert torch.equal(torch.rand(2), first)
    with initial_weights(0, "other"):
        assert not torch.equal(torch.rand(2), first)


def test_rows_are_the_labelled_rows_of_a_part(problem, main_task):
    for task in problem.tasks:
        for part in ("train", "validation", "test"):
            rows = problem.rows(task.name, part)
            assert len(rows) > 0
            assert problem.data.mask[task.name][rows].all()
            assert set(rows) <= set(getattr(problem.split, part))
    assert len(problem.rows(main_task, "train")) < len(problem.split.train)


def test_metrics_are_those_of_scikit_learn_in_the_users_units(problem, main_task):
    random = np.random.default_rng(0)
    tasks = {task.name: task for task in problem.tasks}
    for part in ("validation", "test"):
        rows = problem.rows("a / b", part)
        truth = problem.data.targets["a / b"][rows]
        raw = random.normal(size=(len(rows), 1))
        # networks predict standardised targets
        train = problem.data.targets["a / b"][problem.rows("a / b", "train")]
        predicted = raw[:, 0] * train.std() + train.mean()
        found = problem.metrics(tasks["a / b"], raw, part)
        assert found["RMSE"] == pytest.approx(reference.root_mean_squared_error(truth, predicted), rel=1e-5)
        assert found["R2"] == pytest.approx(reference.r2_score(truth, predicted), rel=1e-5)
        assert found["MAE"] == pytest.approx(reference.mean_absolute_error(truth, predicted), rel=1e-5)

        rows = problem.rows("passed?", part)
        truth = problem.data.targets["passed?"][rows]
        raw = random.normal(size=(len(rows), 1))
        probability = 1 / (1 + np.exp(-raw[:, 0]))
        found = problem.metrics(tasks["passed?"], raw, part)
        assert found["log loss"] == pytest.approx(reference.log_loss(truth, probability, labels=[0, 1]), rel=1e-5)
        assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, probability > 0.5))
        assert found["AUROC"] == pytest.approx(reference.roc_auc_score(truth, probability))

        rows = problem.rows("colour", part)
        truth = problem.data.targets["colour"][rows]
        raw = random.normal(size=(len(rows), 3))
        shares = np.exp(raw) / np.exp(raw).sum(1, keepdims=True)
        found = problem.metrics(tasks["colour"], raw, part)
        assert found["log loss"] == pytest.approx(reference.log_loss(truth, shares, labels=[0, 1, 2]), rel=1e-5)
        assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, shares.argmax(1)))


def test_guessing_has_the_relative_loss_one(problem):
    """The best constant of the training rows, measured on the training rows, is the unit of the score."""
    assert problem.relative_loss("a / b", np.zeros((len(problem.rows("a / b", "train")), 1)), "train") == pytest.approx(
        1.0, abs=1e-5
    )
    for name in ("passed?", "colour"):
        labels = problem.data.targets[name][problem.rows(name, "train")]
        shares = np.bincount(labels) + 0.5
        logs = np.log(shares / shares.sum())
        constant = logs[1:] - logs[:1] if name == "passed?" else logs
        outputs = np.tile(constant, (len(labels), 1))
        assert problem.relative_loss(name, outputs, "train") == pytest.approx(1.0, abs=1e-6)
    perfect = problem.tensors.targets[problem.rows("a / b", "test"), 1].numpy()[:, None]
    assert problem.relative_loss("a / b", perfect, "test") == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("layout", ["mixed", "schools"])
def test_a_networks_outputs_stand_beside_their_rows(layout, request):
    data = request.getfixturevalue(layout)
    problem = Problem(data, RandomSplit(), 0)
    model = tl.HardSharing(tl.nn.MLP(problem.n_inputs, hidden=(4,)), data.tasks).eval()
    found = problem.outputs(model, "test")
    for task in data.tasks:
        for place, row in enumerate(problem.rows(task.name, "test")):
            with torch.no_grad():
                alone = model(problem.tensors.inputs[[row]], [task.name])[task.name]
            np.testing.assert_allclose(found[task.name][place], alone[0].numpy(), rtol=1e-4, atol=1e-6)


def test_which_tasks_count(mixed, main_task):
    assert Problem(mixed, RandomSplit(), 0).scored == (main_task, "a / b", "passed?")
    assert Problem(mixed, RandomSplit(), 0, main=("colour",)).scored == ("colour",)
    problem = Problem(mixed, RandomSplit(), 0, main=("a / b",))
    assert problem.objective.scored.tolist() == [False, True, False, False]
    assert problem.of(("colour",))[1].scored.tolist() == [True]
    assert problem.of(("colour",)) is problem.of(("colour",))
    with pytest.raises(TaskError, match="unknown task 'a/b'"):
        _ = Problem(mixed, RandomSplit(), 0, main=("a/b",)).objective


def test_preparation_has_not_seen_validation_and_test_rows(mixed):
    problem = Problem(mixed, RandomSplit(), 0)
    held_out = np.setdiff1d(np.arange(mixed.n_rows), problem.split.train)
    inputs = mixed.inputs.copy()
    inputs[held_out] += 100.0
    targets = {name: values.copy() for name, values in mixed.targets.items()}
    targets["a / b"][held_out] += 100.0
    moved = Problem(dataclasses.replace(mixed, inputs=inputs, targets=targets), RandomSplit(), 0)
    train = problem.split.train
    np.testing.assert_array_equal(moved.split.train, train)
    assert torch.equal(moved.tensors.inputs[train], problem.tensors.inputs[train])
    assert torch.equal(moved.tensors.targets[train], problem.tensors.targets[train])
    assert torch.equal(moved.objective.constants, problem.objective.constants)
