from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, Independent, NoCommonFeature
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


class TestIndependent(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> Independent:
        return Independent(lambda: MLP(self.n_features, (5, 4)), tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        encoder = 7 * 5 + 6 * 4
        return len(tasks) * encoder + sum(5 * task.kind.n_outputs for task in tasks)


class TestIndependentWithBatchNorm(ModelLaws):
    vectorises = False

    def make_model(self, tasks: Sequence[Task]) -> Independent:
        encoder = nn.Sequential(nn.Linear(self.n_features, 5), nn.BatchNorm1d(5), nn.ReLU())
        return Independent(encoder, tasks, example=torch.zeros(2, self.n_features))


TASKS = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]


def test_nothing_is_shared() -> None:
    model = Independent(lambda: MLP(3), TASKS)
    assert list(model.shared_parameters()) == []
    with pytest.raises(NoCommonFeature, match="Independent has no feature tensor"):
        model.encode(torch.zeros(1, 3))


def test_factory_that_repeats_itself() -> None:
    encoder = MLP(3)
    with pytest.raises(TaskError, match="the encoder factory returned the same module twice"):
        Independent(lambda: encoder, TASKS)
    weight = nn.Parameter(torch.zeros(2, 3))

    def make() -> nn.Module:
        layer = nn.Linear(3, 2)
        layer.weight = weight
        return layer

    with pytest.raises(TaskError, match="share the tensor 'weight'"):
        Independent(make, TASKS)


def test_a_module_is_copied_and_drawn_anew() -> None:
    pattern = MLP(3)
    model = Independent(pattern, TASKS)
    first, second = (next(encoder.parameters()) for encoder in model.encoders)
    assert not torch.equal(first, second)
    assert all(parameter is not other for parameter in pattern.parameters() for other in model.parameters())
