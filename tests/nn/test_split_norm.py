"""Running statistics per task: laws, equality with networks trained apart, phases, export, errors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import taskloom as tl
from taskloom.errors import TaskError
from taskloom.nn import MLP, AdaShare, CrossStitch, HardSharing, MultiTaskModel, split_batch_norm
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "ab"]


def normalised(n_features: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_features, 5), nn.BatchNorm1d(5), nn.ReLU())


class TestSplitHardSharing(ModelLaws):
    vectorises = False
    sizes = (1, 2, 3)

    def make_model(self, tasks: Sequence[Task]) -> MultiTaskModel:
        encoder = normalised(self.n_features)
        return split_batch_norm(HardSharing(encoder, tasks, example=torch.zeros(2, self.n_features)))

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 5 + 2 * 5 + sum(6 * task.kind.n_outputs for task in tasks)


class TestSplitCrossStitch(ModelLaws):
    vectorises = False
    sizes = (1, 2)

    def make_model(self, tasks: Sequence[Task]) -> MultiTaskModel:
        return split_batch_norm(CrossStitch([normalised(self.n_features), nn.Linear(5, 4)], tasks))


def hard() -> HardSharing:
    torch.manual_seed(0)
    return HardSharing(normalised(4), TASKS, example=torch.zeros(2, 4)).double()


def inputs(shift: float, seed: int) -> Tensor:
    return shift + torch.randn(64, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.named_buffers() if "running" in name}


def test_each_task_has_the_statistics_of_a_network_that_saw_its_rows_alone() -> None:
    model = split_batch_norm(hard())
    parts = {"a": inputs(0.0, 1), "b": inputs(5.0, 2)}
    alone = {task: hard() for task in parts}
    for _ in range(40):
        model(parts)
        for task, network in alone.items():
            network({task: parts[task]})
    (norm,) = model.norms()
    for own, network in zip(norm.of_tasks, alone.values(), strict=True):
        for found, expected in zip(statistics(own).values(), statistics(network).values(), strict=True):
            assert torch.equal(found, expected)
    model.eval()
    for task, network in alone.items():
        assert torch.equal(model(parts)[task], network.eval()({task: parts[task]})[task])
        assert torch.equal(model.export(task)(parts[task]), model(parts)[task])
        assert {type(part).__name__ for part in model.export(task)[0]} == {"Linear", "BatchNorm1d", "ReLU"}


def test_common_statistics_are_wrong_where_inputs_differ() -> None:
    common, own = hard(), split_batch_norm(hard())
    parts = {"a": inputs(0.0, 1), "b": inputs(5.0, 2)}
    errors = {}
    for name, model in {"common": common, "own": own}.items():
        for _ in range(60):
            trained = model.train()(parts)
        evaluated = model.eval()(parts)
        errors[name] = max(float((trained[task] - evaluated[task]).detach().abs().max()) for task in parts)
    assert errors["own"] < 0.05
    assert errors["common"] > 10 * errors["own"]


def test_a_frozen_model_takes_in_a_task_whose_statistics_learn() -> None:
    model = split_batch_norm(hard())
    larger = model.add_task(Task(name="c", kind=Regression()), freeze="old").double().train()
    (norm,) = larger.norms()
    before = [statistics(own) for own in norm.of_tasks]
    before = [{name: value.clone() for name, value in own.items()} for own in before]
    larger({"a": inputs(1.0, 1), "c": inputs(2.0, 2)})
    same = [
        all(torch.equal(value, before[k][name]) for name, value in statistics(own).items())
        for k, own in enumerate(norm.of_tasks)
    ]
    assert same == [True, True, False]


def test_phases_and_derived_networks_keep_the_statistics_apart() -> None:
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    data = tl.MultiTaskData.from_arrays(x.numpy(), {"a": x.sum(1).numpy(), "b": x[:, 0].numpy()}, tasks=TASKS)
    torch.manual_seed(0)
    blocks: list[Any] = [nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), nn.ReLU()) for _ in range(2)]
    model = AdaShare(
        blocks, TASKS, stem=MLP(4, (5,)), warmup_epochs=1, search_cycles=2, example=torch.zeros(2, 5), sparsity=0.0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = tl.fit(split_batch_norm(model), data, schedule=tl.Schedule(max_epochs=2))
    trained = result.model
    assert trained.structure() is not None
    means = {name: value for name, value in statistics(trained).items() if name.endswith("running_mean")}
    assert any(bool(value.any()) for value in means.values())
    for task in "ab":
        assert torch.equal(trained.export(task)(x), trained(x)[task])


def test_what_cannot_be_split() -> None:
    with pytest.raises(TaskError, match="needs to know the tasks: found Sequential"):
        split_batch_norm(normalised(4))
    with pytest.raises(TaskError, match="no batch normalisation with running statistics"):
        split_batch_norm(HardSharing(MLP(4), TASKS))
