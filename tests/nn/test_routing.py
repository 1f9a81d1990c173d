"""Task routing: laws, masks, gradients, cutting on export, errors."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import MLP, HardSharing, TaskRouting
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class TestTaskRouting(ModelLaws):
    merges_on_export = True

    def make_model(self, tasks: Sequence[Task]) -> TaskRouting:
        return TaskRouting(MLP(self.n_features, (8, 6)), tasks, keep=0.5)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 8 + 9 * 6 + sum(7 * task.kind.n_outputs for task in tasks)


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 10, 3), nn.BatchNorm2d(10), nn.ReLU()),
    )


class Mean(nn.Module):
    """Global average and a linear layer: a head that cutting does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(10, 1)

    def forward(self, inputs):
        return self.out(inputs.mean((2, 3)))


def test_keeping_everything_is_hard_sharing():
    torch.manual_seed(0)
    encoder = MLP(6, (8, 4))
    model = TaskRouting(encoder, TASKS, keep=1.0).eval()
    hard = HardSharing(encoder, TASKS, heads=dict(zip("abc", model.heads, strict=True))).eval()
    inputs = torch.randn(3, 6)
    for task, output in model(inputs).items():
        assert torch.equal(output, hard(inputs)[task])


def test_every_task_keeps_as_many_channels_as_asked_and_the_common_ones():
    model = TaskRouting(MLP(6, (40, 7)), TASKS, keep=0.3, common=0.1, seed=3)
    first, second = model.masks
    assert first.sum(1).tolist() == [12.0] * 3
    assert second.sum(1).tolist() == [2.0] * 3
    assert first[:, :4].all()
    assert not torch.equal(first[0], first[1])
    again = TaskRouting(MLP(6, (40, 7)), TASKS, keep=0.3, common=0.1, seed=3)
    assert all(torch.equal(*pair) for pair in zip(model.masks, again.masks, strict=True))
    assert not torch.equal(TaskRouting(MLP(6, (40, 7)), TASKS, keep=0.3, common=0.1, seed=4).masks[0], first)
    assert TaskRouting(MLP(6, (3,)), TASKS, keep=0.01).masks[0].sum(1).tolist() == [1.0] * 3
    many = TaskRouting(MLP(6, (4000,)), TASKS, keep=0.5).describe()["overlap"][0]
    assert many[0][1] == pytest.approx(0.25, abs=0.03)


def test_masked_channels_get_no_gradient():
    model = TaskRouting(MLP(6, (8, 5)), TASKS, keep=0.5).double()
    model(torch.randn(4, 6, dtype=torch.float64), ["b"])["b"].sum().backward()
    hidden = model.masks[0][1] == 0
    assert not model.stages[0][0].weight.grad[hidden].any()
    assert not model.stages[1][0].weight.grad[:, hidden].any()
    assert not model.heads[1].weight.grad[:, model.masks[1][1] == 0].any()


def test_exported_networks_lose_their_masked_channels():
    torch.manual_seed(0)
    model = TaskRouting(MLP(6, (8, 10)), TASKS, keep=0.5).double().eval()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    for task, output in model(inputs).items():
        exported = model.export(task)
        torch.testing.assert_close(exported(inputs), output, rtol=0, atol=1e-12)
        assert sum(p.numel() for p in exported.parameters()) == 7 * 4 + 5 * 5 + 6


def test_convolutions_with_norms_are_cut_too():
    torch.manual_seed(0)
    heads = {name: nn.Sequential(nn.Conv2d(10, 1, 1)) for name in "abc"}
    model = TaskRouting(convolutional(), TASKS, keep=0.5, channels=[8, 10], heads=heads)
    model(torch.randn(6, 2, 7, 7))  # statistics that are not those of the start
    model.eval()
    inputs = torch.randn(2, 2, 7, 7)
    exported = model.export("b")
    torch.testing.assert_close(exported(inputs), model(inputs)["b"], rtol=0, atol=1e-6)
    assert exported[0][0].weight.shape == (4, 2, 3, 3)
    assert exported[1][1].num_features == 5


def test_what_cannot_be_cut_keeps_its_masks():
    heads = {name: Mean() for name in "abc"}
    model = TaskRouting(convolutional(), TASKS, keep=0.5, example=torch.zeros(1, 2, 7, 7), heads=heads).eval()
    inputs = torch.randn(2, 2, 7, 7)
    assert torch.equal(model.export("b")(inputs), model(inputs)["b"])


def test_masks_travel_with_the_model():
    model = TaskRouting(MLP(6, (8,)), TASKS, keep=0.5)
    other = TaskRouting(MLP(6, (8,)), TASKS, keep=0.5, seed=9)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.masks[0], model.masks[0])
    new = Task(name="d", kind=Regression())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin.add_task(new).masks[0], model.add_task(new).masks[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 0.0}, r"keep must lie in \(0, 1\]"),
        ({"keep": 0.2, "common": 0.3}, r"common in \[0, keep\]"),
        ({"after": [2]}, "after has stage 2, but the stages are 0 to 0"),
        ({"channels": [1, 2]}, "channels has 2 numbers, but 1 stages are masked"),
    ],
    ids=["keep", "common", "after", "channels"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        TaskRouting(MLP(6, (8,)), TASKS, **settings)


def test_unknown_widths():
    with pytest.raises(TaskError, match=r"stage 0 \(Flatten\) does not say how many channels"):
        TaskRouting([nn.Flatten()], TASKS)
    with pytest.raises(TaskError, match="at least one stage"):
        TaskRouting([], TASKS)
