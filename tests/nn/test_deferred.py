"""Models that are built at their first forward pass: they become the model, and say what is missing before."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.errors import TaskError
from taskloom.nn import CNN, MLP, MTAN, CrossStitch, Deferred, HardSharing, MultiTaskModel, PADNet
from taskloom.task import Regression, Task

TASKS = [Task(name=name, kind=Regression()) for name in "ab"]


def hard(example: Any) -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(MLP(example.shape[1], (5,)), TASKS)


def test_it_becomes_the_model() -> None:
    model, x = Deferred(hard, TASKS), torch.randn(4, 3)
    assert isinstance(model, MultiTaskModel)
    outputs = model(x)
    assert type(model) is HardSharing
    expected = hard(x)
    for task, output in expected(x).items():
        assert torch.equal(outputs[task], output)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in expected.named_parameters()]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(x)["a"].sum().backward()
    optimiser.step()
    assert not torch.equal(model(x)["a"], outputs["a"])
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(clone(x)["b"], model(x)["b"])
    tl.nn.check_partition(model, x)
    assert model.remove_task("a").tasks == ("b",)


def test_mode_type_and_gradients_are_those_asked_for_before() -> None:
    model = Deferred(hard, TASKS).double().eval()
    with torch.no_grad():
        model(torch.randn(4, 3, dtype=torch.float64))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_the_sample_is_the_input_of_a_task_where_each_has_its_own() -> None:
    model = Deferred(hard, TASKS)
    outputs = model({"b": torch.randn(2, 6)})
    assert list(outputs) == ["b"]
    assert model.encoder[0][0].in_features == 6


@pytest.mark.parametrize(
    "build",
    [
        lambda x: PADNet(CNN(x.shape[1], (3, 4), pool=False), TASKS, width=4, example=x),
        lambda x: MTAN(CNN(x.shape[1], (3, 4)), TASKS, example=x),
        lambda x: CrossStitch(lambda: list(CNN(x.shape[1], (3, 4))), TASKS, per="channel", example=x),
        lambda x: HardSharing(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 4)), TASKS, example=x),
    ],
    ids=["PADNet", "MTAN", "CrossStitch", "any encoder"],
)
def test_architectures_that_need_the_size_of_images(build: Any) -> None:
    images = torch.randn(2, 3, 8, 8)
    tasks = build(images).task_objects
    model = Deferred(build, tasks)
    assert set(model(images)) == {task.name for task in tasks}


def test_fit_builds_it_for_the_data() -> None:
    x = np.random.default_rng(0).normal(size=(60, 7))
    data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0] + x[:, 1], "b": x[:, 1] - x[:, 2]}, tasks=TASKS)
    model = Deferred(lambda x: HardSharing(MLP(x.shape[1], (5,)), TASKS), TASKS)
    results = [tl.fit(model, data, schedule=tl.Schedule(max_epochs=2), seed=1) for _ in range(2)]
    assert type(model) is Deferred
    assert type(results[0].model) is HardSharing
    for name, value in results[0].state.items():
        assert torch.equal(results[1].state[name], value)
    loader = [(torch.randn(8, 7), {"a": torch.randn(8), "b": torch.randn(8)}) for _ in range(2)]
    assert tl.fit(model, (loader, loader), schedule=tl.Schedule(max_epochs=1)).model.encoder[0][0].in_features == 7


def test_what_is_not_there_yet_is_said() -> None:
    model = Deferred(hard, TASKS)
    for ask in (
        lambda: list(model.parameters()),
        model.state_dict,
        lambda: model.load_state_dict({}),
        lambda: list(model.shared_parameters()),
        lambda: list(model.task_parameters("a")),
        lambda: torch.optim.Adam(model.parameters()),
    ):
        with pytest.raises(TaskError, match="not built yet"):
            ask()


def test_builders_that_build_something_else() -> None:
    with pytest.raises(TaskError, match="must return a multi-task model, found Linear"):
        Deferred(lambda x: nn.Linear(3, 1), TASKS)(torch.zeros(1, 3))  # type: ignore[arg-type, return-value]
    with pytest.raises(TaskError, match=r"model of \['a', 'b'\], expected \['a'\]"):
        Deferred(hard, TASKS[:1])(torch.zeros(1, 3))
