"""The joint many-task cascade: laws, label embeddings, successive regularisation, turns of training, errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import TaskError
from taskloom.nn import MLP, Cascade, check_partition
from taskloom.task import Binary, Multiclass, Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name="tag", kind=Multiclass(4)), Task(name="yes", kind=Binary()), Task(name="score", kind=Regression())]
WIDTH, LABEL = 5, 3


def fed(tasks: Sequence[Task]) -> dict[str, int]:
    """Label embeddings of every task with classes but the highest."""
    return {task.name: LABEL for task in tasks[:-1] if task.kind.n_classes}


def stages(tasks: Sequence[Task], n_features: int, *, concat: bool = False) -> list[nn.Module]:
    built, n_labels = [], 0
    for index, task in enumerate(tasks):
        labels = n_labels * LABEL if concat else min(1, n_labels) * LABEL
        built.append(MLP(n_features if index == 0 else WIDTH + n_features + labels, (WIDTH,)))
        n_labels += task.name in fed(tasks)
    return built


class TestCascade(ModelLaws):
    combine, detach = "sum", False
    can_add_tasks = False  # needs a stage of the right width
    can_remove_tasks = False  # only the highest task can go

    def make_model(self, tasks: Sequence[Task]) -> Cascade:
        return Cascade(
            stages(tasks, self.n_features, concat=self.combine == "concat"),
            tasks,
            label_embeddings=fed(tasks),
            combine=self.combine,
            detach_labels=self.detach,
        )

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        inputs = [
            next(stage.parameters()).shape[1]
            for stage in stages(tasks, self.n_features, concat=self.combine == "concat")
        ]
        heads = sum((WIDTH + 1) * task.kind.n_outputs for task in tasks)
        labels = sum(LABEL * (task.kind.n_classes or 0) for task in tasks if task.name in fed(tasks))
        return sum((width + 1) * WIDTH for width in inputs) + heads + labels


class TestCascadeThatConcatenates(TestCascade):
    combine = "concat"


class TestCascadeWithDetachedLabels(TestCascade):
    detach = True


def build(**settings) -> Cascade:
    torch.manual_seed(0)
    return Cascade(stages(TASKS, 6), TASKS, label_embeddings=fed(TASKS), **settings).double()


def test_the_equations():
    model = build().eval()
    x = torch.randn(4, 6, dtype=torch.float64)
    tag, yes, score = model.stages
    h1 = tag(x)
    y1 = model.heads[0](h1).softmax(-1) @ model.labels[0].vectors
    h2 = yes(torch.cat([h1, x, y1], -1))
    p = torch.sigmoid(model.heads[1](h2))
    y2 = torch.cat([1 - p, p], -1) @ model.labels[1].vectors
    h3 = score(torch.cat([h2, x, y1 + y2], -1))
    expected = {"tag": model.heads[0](h1), "yes": model.heads[1](h2), "score": model.heads[2](h3)}
    for task, output in model(x).items():
        torch.testing.assert_close(output, expected[task], rtol=0, atol=1e-12)


def test_heads_that_feed_labels_upward_are_shared_unless_detached():
    for detach in (False, True):
        model = build(detach_labels=detach)
        shared = {id(parameter) for parameter in model.shared_parameters()}
        assert (id(model.heads[0].weight) in shared) is not detach
        check_partition(model, torch.randn(5, 6, dtype=torch.float64))


def test_tokens_are_joined_on_the_last_axis():
    model = build().eval()
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    assert {task: tuple(output.shape) for task, output in model(x).items()} == {
        "tag": (2, 7, 4),
        "yes": (2, 7, 1),
        "score": (2, 7, 1),
    }
    torch.testing.assert_close(model(x)["score"][1], model(x[1])["score"], rtol=0, atol=1e-12)


def test_no_penalty_right_after_a_snapshot_then_that_of_the_equation():
    model = build(sub_epochs=1, inputs=nn.Linear(6, 6), head_strength=0.5, strength=0.25)
    assert model.penalties() == {}
    model._begin(1)
    assert model.penalty().item() == 0.0
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    moved = {name: (value - before[name]).square().sum() for name, value in model.named_parameters()}
    heads = moved["heads.0.weight"] + moved["heads.0.bias"]
    others = sum(moved[name] for name in moved if name.startswith(("inputs", "stages.0", "labels.0")))
    torch.testing.assert_close(model.penalty(), 0.5 * heads + 0.25 * others, rtol=1e-12, atol=0)
    again = build(sub_epochs=1, inputs=nn.Linear(6, 6), head_strength=0.5, strength=0.25)
    again.load_state_dict(model.state_dict())
    assert again.penalty().item() == model.penalty().item()
    model._begin(-1)
    assert model.penalties() == {}


def test_tasks_train_in_turn():
    torch.manual_seed(0)
    x = torch.randn(60, 6)
    y = torch.stack([torch.randint(4, (60,)).float(), (x[:, 0] > 0).float(), x.sum(1)], 1)
    data = TaskTensors(
        tasks=tuple(TASKS),
        inputs=x,
        targets=y,
        mask=torch.ones_like(y, dtype=torch.bool),
        train=np.arange(40),
        validation=np.arange(40, 60),
    )
    model = build(sub_epochs=2).float()
    assert [phase.tasks for phase in model.phases()] == [("tag",), ("yes",), ("score",)] * 2
    result = tl.fit(model, data, schedule=tl.Schedule(batch_size=20))
    assert result.history.epochs == 6
    assert result.steps == 12
    trained = [set(np.flatnonzero(row > 0)) for row in result.history.weights]
    assert trained == [{0}, {1}, {2}] * 2


def test_only_the_highest_task_can_go_or_come():
    model = build(sub_epochs=1).eval()
    x = torch.randn(3, 6, dtype=torch.float64)
    smaller = model.remove_task("score").eval()
    assert smaller.tasks == ("tag", "yes")
    for task, output in smaller(x).items():
        assert torch.equal(output, model(x)[task])
    check_partition(smaller, x)
    with pytest.raises(TaskError, match="only the highest task, 'score', can"):
        model.remove_task("tag")
    larger = smaller.add_task(Task(name="new", kind=Regression()), stage=MLP(5 + 6 + 3, (4,)).double(), freeze="old")
    assert torch.equal(larger.double().eval()(x)["yes"], model(x)["yes"])
    assert larger(x)["new"].shape == (3, 1)
    with pytest.raises(TaskError, match="give stage= for task 'new'"):
        smaller.add_task(Task(name="new", kind=Regression()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_embeddings": {"score": 2}}, "'score' has no classes"),
        ({"label_embeddings": {"taf": 2}}, "unknown task 'taf'"),
        ({"label_embeddings": {"tag": 2, "yes": 3}}, "equal widths can be summed"),
        ({"label_embeddings": {"tag": 0}}, "'tag' has width 0"),
        ({"combine": "mean"}, "'sum' or 'concat'"),
        ({"sub_epochs": 0}, "sub_epochs must be 1 or more"),
    ],
    ids=["regression", "unknown", "widths", "zero", "combine", "turns"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        Cascade(stages(TASKS, 6), TASKS, **settings)


def test_bad_structures():
    with pytest.raises(TaskError, match="found 2 stages for 3 tasks"):
        Cascade(stages(TASKS, 6)[:2], TASKS)
    with pytest.raises(TaskError, match="nobody reads the labels of the highest task, 'yes'"):
        Cascade(stages(TASKS[:2], 6), TASKS[:2], label_embeddings={"tag": 3, "yes": 3})
    with pytest.raises(TaskError, match="its input is a list"):
        build()([1, 2])
