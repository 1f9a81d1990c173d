from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, check_partition, reached_by
from taskloom.task import Regression, Task

TASKS = [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]
SAMPLE = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def test_reached_by() -> None:
    reached = reached_by(HardSharing(MLP(3, (4,)), TASKS), SAMPLE)
    assert reached == {
        "encoder.0.0.weight": {"a", "b"},
        "encoder.0.0.bias": {"a", "b"},
        "heads.0.weight": {"a"},
        "heads.0.bias": {"a"},
        "heads.1.weight": {"b"},
        "heads.1.bias": {"b"},
    }


class Forgets(HardSharing):
    def shared_parameters(self) -> Iterator[nn.Parameter]:
        return iter(list(super().shared_parameters())[:-1])


class Twice(HardSharing):
    def shared_parameters(self) -> Iterator[nn.Parameter]:
        yield from super().shared_parameters()
        yield from self.heads[0].parameters()


class Lies(HardSharing):
    def task_parameters(self, task: str) -> Iterator[nn.Parameter]:
        return super().task_parameters({"a": "b", "b": "a"}[task])


class Frozen(HardSharing):
    def shared_parameters(self) -> Iterator[nn.Parameter]:
        return self.encoder.parameters()


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Forgets, "'encoder.0.0.bias' is in 0 groups"),
        (Twice, "'heads.0.weight' is in 2 groups"),
        (Lies, "'heads.0.weight' is declared as task parameter of 'b', but is reached by \\['a'\\]"),
    ],
)
def test_wrong_declarations(architecture: type[HardSharing], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        check_partition(architecture(MLP(3, (4,)), TASKS), SAMPLE)


def test_frozen_parameters_belong_to_no_group() -> None:
    model = Frozen(MLP(3, (4,)), TASKS)
    model.encoder.requires_grad_(False)
    with pytest.raises(TaskError, match="is frozen, but listed"):
        check_partition(model, SAMPLE)
    model = HardSharing(MLP(3, (4,)), TASKS)
    model.encoder.requires_grad_(False)
    check_partition(model, SAMPLE)


def test_the_model_is_not_changed() -> None:
    model = HardSharing(MLP(3, (4,)), TASKS).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check_partition(model, SAMPLE)
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
