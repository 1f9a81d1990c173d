"""Layered supervision: laws, special cases, early exit, errors."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, LayeredSupervision
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]
WIDTHS = (5, 4, 3)


class TestLayeredSupervision(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> LayeredSupervision:
        levels = {task.name: (2 - index) % 3 for index, task in enumerate(tasks)}
        stages = [lambda: MLP(self.n_features, (5,)), lambda: MLP(5, (4,)), lambda: MLP(4, (3,))]
        return LayeredSupervision(stages, tasks, levels=levels)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        stages = 7 * 5 + 6 * 4 + 5 * 3
        return stages + sum((WIDTHS[(2 - k) % 3] + 1) * task.kind.n_outputs for k, task in enumerate(tasks))


def stages() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)]


def test_all_tasks_at_the_last_level_is_hard_sharing():
    parts = stages()
    layered = LayeredSupervision(parts, TASKS, levels=dict.fromkeys("abc", 2)).eval()
    hard = HardSharing(nn.Sequential(*parts), TASKS, heads=dict(zip("abc", layered.heads, strict=True))).eval()
    inputs = torch.randn(4, 6)
    for task, output in layered(inputs).items():
        assert torch.equal(output, hard(inputs)[task])
    assert {id(p) for p in layered.shared_parameters()} == {id(p) for p in hard.shared_parameters()}


def test_a_call_stops_at_the_highest_level_asked_for():
    model = LayeredSupervision(stages(), TASKS, levels={"a": 0, "b": 1, "c": 2}, example=torch.zeros(1, 6))
    called = []
    for depth, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda *_, depth=depth: called.append(depth))
    model(torch.zeros(2, 6), ["b", "a"])
    assert called == [0, 1]


def test_stages_above_the_second_highest_level_belong_to_the_top_task():
    model = LayeredSupervision(stages(), TASKS, levels={"a": 0, "b": 0, "c": 2})
    own = {id(parameter) for parameter in model.task_parameters("c")}
    assert {id(p) for stage in model.stages[1:] for p in stage.parameters()} <= own
    loss = sum(model(torch.randn(3, 6), ["a", "b"]).values()).sum()
    loss.backward()
    assert model.stages[1].weight.grad is None


def test_a_sequential_is_taken_apart():
    model = LayeredSupervision(nn.Sequential(*stages()), TASKS, levels={"a": 0, "b": 1, "c": 2})
    assert len(model.stages) == 3
    assert model.describe()["levels"] == {"a": 0, "b": 1, "c": 2}


def test_stages_no_task_needs_go_with_their_task():
    model = LayeredSupervision(stages(), TASKS, levels={"a": 0, "b": 0, "c": 2})
    assert len(model.remove_task("c").stages) == 1
    assert model.add_task(Task(name="d", kind=Regression()), level=1).levels == (0, 0, 2, 1)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({"a": 0, "b": 1}, "one level per task"),
        ({"a": 0, "b": 1, "c": 3}, "level 3 of task 'c' is not there; the stages are 0 to 2"),
        ({"a": -1, "b": 1, "c": 2}, "level -1 of task 'a'"),
        ({"a": 0, "b": 0, "c": 1}, "no task reads stages 2 to 2"),
    ],
    ids=["missing", "above", "below", "unread"],
)
def test_bad_levels(levels, message):
    with pytest.raises(TaskError, match=message):
        LayeredSupervision(stages(), TASKS, levels=levels)


def test_a_new_level_must_be_there():
    model = LayeredSupervision(stages(), TASKS, levels={"a": 0, "b": 0, "c": 2})
    with pytest.raises(TaskError, match="level 3 of task 'd'"):
        model.add_task(Task(name="d", kind=Regression()), level=3)
