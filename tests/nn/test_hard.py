from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, gates
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws


def widths_of(*widths: int) -> int:
    """Number of weights and biases of linear layers of these widths."""
    return sum((first + 1) * second for first, second in pairwise(widths))


class TestHardSharing(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> HardSharing:
        return HardSharing(MLP(self.n_features, (5, 4)), tasks)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return widths_of(6, 5, 4) + sum(5 * task.kind.n_outputs for task in tasks)


class TestHardSharingWithBatchNorm(ModelLaws):
    vectorises = False

    def make_model(self, tasks: Sequence[Task]) -> HardSharing:
        encoder = nn.Sequential(nn.Linear(self.n_features, 5), nn.BatchNorm1d(5), nn.ReLU())
        return HardSharing(encoder, tasks, example=torch.zeros(2, self.n_features))


class TestHardSharingWithDeepHeads(ModelLaws):
    def make_model(self, tasks: Sequence[Task]) -> HardSharing:
        heads = {
            task.name: nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, task.kind.n_outputs)) for task in tasks
        }
        return HardSharing(MLP(self.n_features, (5,)), tasks, heads=heads)


def two_tasks() -> list[Task]:
    return [Task(name="a", kind=Regression()), Task(name="b", kind=Regression())]


class Counting(nn.Linear):
    calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(inputs)


def test_encoder_runs_once_in_training() -> None:
    encoder = Counting(3, 2)
    model = HardSharing(encoder, [Task(name=str(k), kind=Regression()) for k in range(139)]).train()
    model({str(k): torch.zeros(4, 3) for k in range(139)})
    assert encoder.calls == 1
    model(torch.zeros(4, 3))
    assert encoder.calls == 2


def test_batch_norm_is_run_on_each_batch() -> None:
    model = HardSharing(nn.Sequential(nn.BatchNorm1d(2, affine=False)), two_tasks(), example=torch.zeros(2, 2)).train()
    inputs = {"a": torch.tensor([[0.0, 1.0], [2.0, 3.0]]), "b": 100 + torch.tensor([[0.0, 5.0], [1.0, 7.0]])}
    features = model.features(inputs)
    for task in model.tasks:
        torch.testing.assert_close(features[task].mean(0), torch.zeros(2), atol=1e-4, rtol=0)


def test_features_may_be_any_structure() -> None:
    class Pair(nn.Module):
        def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return inputs, inputs + 1

    class Second(nn.Module):
        def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return pair[1]

    model = HardSharing(Pair(), two_tasks(), heads={"a": Second(), "b": Second()})
    assert torch.equal(model(torch.zeros(2, 1))["b"], torch.ones(2, 1))
    assert torch.equal(model({"a": torch.zeros(2, 1), "b": torch.ones(3, 1)})["b"], torch.full((3, 1), 2.0))


def test_mapping_inputs_of_the_encoder_pass_untouched() -> None:
    class Tokens(nn.Module):
        out_features = 2

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            return inputs["ids"] * inputs["mask"]

    model = HardSharing(Tokens(), two_tasks())
    assert model({"ids": torch.ones(3, 2), "mask": torch.ones(3, 2)})["a"].shape == (3, 1)


def test_gates_weigh_the_encoder_and_not_the_heads() -> None:
    torch.manual_seed(0)
    model = HardSharing(MLP(3, (4,)), two_tasks()).double()
    inputs = torch.randn(5, 3, dtype=torch.float64)
    weights = {"a": 0.25, "b": 4.0}
    weighted = sum(weights[task] * output.sum() for task, output in model(inputs).items())
    expected = torch.autograd.grad(weighted, list(model.shared_parameters()))
    plain = torch.autograd.grad(sum(output.sum() for output in model(inputs).values()), list(model.heads.parameters()))
    with gates(model) as opened:
        total = sum(output.sum() for output in model(inputs).values())
    opened.set(weights)
    total.backward()
    for parameter, gradient in zip([*model.shared_parameters(), *model.heads.parameters()], [*expected, *plain]):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-12)


def test_heads_must_match() -> None:
    with pytest.raises(TaskError, match=r"heads \['a', 'c'\] do not match tasks \['a', 'b'\]"):
        HardSharing(MLP(3), two_tasks(), heads={"a": nn.Linear(64, 1), "c": nn.Linear(64, 1)})
    head = nn.Linear(64, 1)
    with pytest.raises(TaskError, match="own module"):
        HardSharing(MLP(3), two_tasks(), heads={"a": head, "b": head})


def test_unknown_width_says_what_to_do() -> None:
    with pytest.raises(TaskError, match="out_features"):
        HardSharing(nn.Sequential(nn.Linear(3, 2)), two_tasks())
