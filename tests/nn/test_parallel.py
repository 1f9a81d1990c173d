from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from taskloom.nn import MLP, Independent, Parallel, SoftSharing, batched_evaluation
from taskloom.task import Regression, Task


class Counting(nn.Linear):
    calls = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return super().forward(inputs)


@pytest.fixture(autouse=True)
def reset() -> None:
    Counting.calls = 0


def test_one_call_in_training_one_per_member_in_evaluation() -> None:
    members = Parallel([Counting(3, 2) for _ in range(139)])
    inputs = list(torch.randn(139, 5, 3).unbind(0))
    together = members.run(inputs)
    assert Counting.calls == 1
    alone = members.eval().run(inputs)
    assert Counting.calls == 1 + 139
    torch.testing.assert_close(together, alone)
    with batched_evaluation():
        members.run(inputs)
    assert Counting.calls == 1 + 139 + 1


@pytest.mark.parametrize("build", [Independent, SoftSharing])
def test_139_tasks_are_one_call(build: Callable[..., nn.Module]) -> None:
    tasks = [Task(name=f"school {k}", kind=Regression()) for k in range(139)]
    model = build(
        lambda: nn.Sequential(Counting(3, 4), nn.ReLU()), tasks, heads={t.name: nn.Linear(4, 1) for t in tasks}
    )
    outputs = model({task.name: torch.randn(6, 3) for task in tasks})
    assert Counting.calls == 1
    sum(output.square().sum() for output in outputs.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_groups_by_structure_and_shape() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 1 + k % 2) for k in range(12)] + [nn.Sequential(nn.Linear(3, 1), nn.Tanh())]
    members = Parallel(layers)
    inputs = [torch.randn(4 + k % 3, 3) for k in range(13)]
    torch.testing.assert_close(members.run(inputs), [layer(value) for layer, value in zip(layers, inputs, strict=True)])


class Scaled(nn.Module):
    """Two instances have the same parameters, and differ in a plain attribute."""

    def __init__(self, factor: float, act: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.factor = factor
        self.act = act
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.act(self.factor * inputs * self.weight)


def test_modules_that_differ_in_settings_are_not_mixed_up() -> None:
    members = Parallel([Scaled(float(k % 2), torch.relu if k < 6 else torch.tanh) for k in range(12)])
    inputs = torch.ones(1, 2)
    torch.testing.assert_close(members.run_same(inputs), [member(inputs) for member in members])


def test_batch_norm_is_updated() -> None:
    members = Parallel([nn.BatchNorm1d(2) for _ in range(6)])
    expected = copy.deepcopy(members)
    inputs = list(torch.randn(6, 5, 2).unbind(0))
    members.run(inputs)
    for member, value in zip(expected, inputs, strict=True):
        member(value)
    assert all(torch.equal(one, other) for one, other in zip(members.buffers(), expected.buffers(), strict=True))


def test_dropout_differs_between_members() -> None:
    members = Parallel([nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5)) for _ in range(6)])
    for member in members:
        nn.init.constant_(member[0].weight, 0.0)
        nn.init.constant_(member[0].bias, 1.0)
    outputs = members.run_same(torch.zeros(1, 3))
    assert len({tuple((output[0] > 0).tolist()) for output in outputs}) == 6


def test_outputs_may_be_structures() -> None:
    class Two(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> dict[str, tuple[torch.Tensor, ...]]:  # type: ignore[override]
            return {"both": (super().forward(inputs), inputs)}

    members = Parallel([Two(3, 1) for _ in range(6)])
    values = list(torch.randn(6, 4, 3).unbind(0))
    outputs = members.run(values)
    for member, value, output in zip(members, values, outputs, strict=True):
        torch.testing.assert_close(output["both"][0], member(value)["both"][0])
        torch.testing.assert_close(output["both"][1], value)


def test_a_replaced_member_is_noticed() -> None:
    members = Parallel([nn.Linear(3, 1) for _ in range(6)])
    members.run_same(torch.zeros(1, 3))
    members[2] = nn.Sequential(nn.Linear(3, 1), nn.Sigmoid())
    torch.testing.assert_close(members.run_same(torch.ones(1, 3))[2], members[2](torch.ones(1, 3)))


def test_members_without_parameters() -> None:
    members = Parallel([nn.ReLU() for _ in range(6)])
    assert torch.equal(members.run_same(-torch.ones(1, 2))[5], torch.zeros(1, 2))


def test_members_of_different_mode_are_not_mixed_up() -> None:
    members = Parallel([nn.Sequential(nn.Dropout(0.999999), nn.Linear(200, 1)) for _ in range(12)])
    for member in members[:6]:
        member.eval()
    outputs = members.run_same(torch.ones(1, 200))
    for k in range(6):
        torch.testing.assert_close(outputs[k], members[k](torch.ones(1, 200)))


def test_frozen_and_trained_members_together() -> None:
    members = Parallel([MLP(3, (2,)) for _ in range(6)])
    members[0].requires_grad_(False)
    sum(output.sum() for output in members.run_same(torch.randn(4, 3))).backward()
    assert all(parameter.grad is None for parameter in members[0].parameters())
    assert all(parameter.grad is not None for parameter in members[1].parameters())


def test_an_exchanged_part_is_noticed_after_train() -> None:
    members = Parallel([nn.Sequential(nn.Linear(3, 1), nn.ReLU()) for _ in range(6)])
    members.run_same(torch.zeros(1, 3))
    members[2][1] = nn.Sigmoid()
    members.train()
    torch.testing.assert_close(members.run_same(torch.ones(1, 3))[2], members[2](torch.ones(1, 3)))


@pytest.mark.parametrize("n_members", [2, 6])
@pytest.mark.parametrize("tail", [nn.ReLU, lambda: nn.LayerNorm(5)], ids=["chain", "other"])
def test_autocast_reaches_members_of_any_number(n_members, tail):
    members = Parallel(nn.Sequential(nn.Linear(4, 5), tail(), nn.Linear(5, 2)) for _ in range(n_members)).train()
    inputs = torch.randn(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for outputs in (members.run_same(inputs), members.run([inputs.clone() for _ in range(n_members)])):
            assert {output.dtype for output in outputs} == {torch.bfloat16}
