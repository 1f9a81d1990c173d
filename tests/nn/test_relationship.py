"""Deep relationship networks: laws, the prior against Kronecker products, flip-flop, closed form, errors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import TaskError
from taskloom.nn import MLP, RelationshipNetwork
from taskloom.nn._tensor_normal import TensorNormal
from taskloom.task import Regression, Task
from taskloom.testing import ModelLaws

TASKS = [Task(name=name, kind=Regression()) for name in "abc"]


class TestRelationshipNetwork(ModelLaws):
    modes = ("task",)

    def make_model(self, tasks: Sequence[Task]) -> RelationshipNetwork:
        return RelationshipNetwork(MLP(self.n_features, (5,)), tasks, tower=lambda: MLP(5, (4,)), modes=self.modes)

    def parameter_count(self, tasks: Sequence[Task]) -> int:
        return 7 * 5 + len(tasks) * 6 * 4 + sum(5 * task.kind.n_outputs for task in tasks)


class TestAllModes(TestRelationshipNetwork):
    modes = ("feature", "output", "task")


def covariance(n: int, seed: int) -> torch.Tensor:
    root = torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return root @ root.T + 0.5 * torch.eye(n, dtype=torch.float64)


def test_the_value_is_that_of_the_kronecker_product():
    shape = (3, 2, 2)
    prior = TensorNormal(shape, modes=(0, 1, 2), ridge=1e-3)
    parts = [covariance(n, seed) for seed, n in enumerate(shape)]
    for mode, part in enumerate(parts):
        prior.set_covariance(mode, part)
    weights = torch.randn(shape, dtype=torch.float64)
    whole = torch.kron(torch.kron(parts[0], parts[1]), parts[2])
    vector = weights.reshape(-1)
    expected = 0.5 * (vector @ torch.linalg.solve(whole, vector) + torch.linalg.slogdet(whole)[1])
    torch.testing.assert_close(prior(weights), expected, rtol=1e-12, atol=1e-10)


def test_every_update_is_a_stationary_point_and_sweeps_go_down():
    torch.manual_seed(0)
    weights = torch.randn(6, 5, 4, dtype=torch.float64) * torch.linspace(0.3, 2, 4, dtype=torch.float64)
    prior = TensorNormal(weights.shape, modes=(0, 1, 2), ridge=1e-12)
    values = [prior(weights).item()]
    for _ in range(6):
        prior.update(weights)
        values.append(prior(weights).item())
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(values))
    assert values[-2] - values[-1] < 0.1 * (values[0] - values[1])
    for mode in (0, 1):
        assert prior.covariance(mode).diagonal().mean().item() == pytest.approx(1.0)
    # the last covariance that was updated is stationary: its likelihood equations hold
    best = prior(weights).item()
    for scale in (0.99, 1.01):
        other = TensorNormal(weights.shape, modes=(0, 1, 2), ridge=1e-12)
        other.load_state_dict(prior.state_dict())
        other.set_covariance(2, prior.covariance(2) * scale)
        assert other(weights).item() > best


def test_identity_covariances_are_weight_decay():
    model = RelationshipNetwork(MLP(6, (5,)), TASKS, tower=lambda: MLP(5, (4,)), strength=0.3).double()
    weights = [tower.get_parameter("0.0.weight") for tower in model.towers]
    expected = 0.15 * sum(weight.square().sum() for weight in weights)
    torch.testing.assert_close(model.penalty(), expected, rtol=1e-12, atol=0)
    model.penalty().backward()
    for weight in weights:
        torch.testing.assert_close(weight.grad, 0.3 * weight, rtol=1e-12, atol=1e-14)


def related(modes=("task",), estimator="flip-flop") -> RelationshipNetwork:
    """Towers of which the first two are nearly equal and the third is opposed to the first."""
    torch.manual_seed(0)
    model = RelationshipNetwork(MLP(6, (5,)), TASKS, tower=lambda: MLP(5, (40,)), modes=modes, estimator=estimator)
    model = model.double()
    first, second, third = (tower.get_parameter("0.0.weight") for tower in model.towers)
    with torch.no_grad():
        second.copy_(first + 0.01 * torch.randn_like(first))
        third.copy_(-first + 0.05 * torch.randn_like(first))
    return model


@pytest.mark.parametrize("estimator", ["flip-flop", "mtrl"])
def test_related_and_opposed_tasks_are_found(estimator):
    model = related(estimator=estimator)
    assert torch.equal(model.task_correlation(), torch.eye(3, dtype=torch.float64))
    model.update_covariances()
    found = model.task_correlation()
    assert found[0, 1] > 0.9
    assert found[0, 2] < -0.75  # the root of the closed form takes the edge off
    assert model.describe()["task_correlation"][0][1] > 0.9
    if estimator == "mtrl":
        assert model.priors[0].covariance(2).trace().item() == pytest.approx(1.0, rel=2e-3)


def test_equal_tasks_do_not_break_the_prior():
    model = related()
    with torch.no_grad():
        for tower in model.towers:
            tower.get_parameter("0.0.weight").copy_(model.towers[0].get_parameter("0.0.weight"))
    for _ in range(3):
        model.update_covariances()
        assert torch.isfinite(model.penalty())
    zero = TensorNormal((2, 2, 2), modes=(2,), ridge=1e-3)
    zero.update(torch.zeros(2, 2, 2))
    assert torch.isfinite(zero(torch.zeros(2, 2, 2)))


def test_convolutions_are_coupled_by_channel_and_kernel():
    tower = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))
    model = RelationshipNetwork(nn.Identity(), TASKS, tower=tower, example=torch.zeros(1, 3, 3, 3))
    assert [prior.shape for prior in model.priors] == [(27, 4, 3), (4, 2, 3)]


def test_training_updates_the_covariances():
    torch.manual_seed(0)
    x = torch.randn(80, 6)
    y = torch.stack([x[:, 0], x[:, 0], -x[:, 0]], 1)
    data = TaskTensors(
        tasks=tuple(TASKS),
        inputs=x,
        targets=y,
        mask=torch.ones_like(y, dtype=torch.bool),
        train=np.arange(60),
        validation=np.arange(60, 80),
    )
    model = RelationshipNetwork(MLP(6, (8,)), TASKS, tower=lambda: MLP(8, (6,)), every=2, warmup=1)
    result = tl.fit(model, data, schedule=tl.Schedule(max_epochs=2, batch_size=20))
    assert not torch.equal(result.model.priors[0].covariance(2), model.priors[0].covariance(2))


def test_a_task_comes_and_goes_with_its_covariance():
    model = related()
    model.update_covariances()
    before = model.priors[0].covariance(2)
    larger = model.add_task(Task(name="d", kind=Regression()))
    assert torch.allclose(larger.priors[0].covariance(2)[:3, :3], before)
    assert not larger.task_correlation()[3, :3].any()
    smaller = model.remove_task("b")
    torch.testing.assert_close(smaller.priors[0].covariance(2), before[[0, 2]][:, [0, 2]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modes": ("tasks",)}, "expected some of"),
        ({"modes": ("feature", "task"), "estimator": "mtrl"}, "closed form for modes"),
        ({"estimator": "map"}, "'flip-flop' or 'mtrl'"),
        ({"every": 0}, "every must be 1 or more"),
        ({"strength": -1.0}, "strength must be 0 or more"),
        ({"layers": ("none*",)}, "no weight of the towers matches"),
        ({"modes": ("feature",), "tower": lambda: nn.Linear(9000, 1)}, r"9000 features.*use modes=\('task',\)"),
    ],
    ids=["modes", "mtrl", "estimator", "every", "strength", "layers", "large"],
)
def test_bad_settings(settings, message):
    with pytest.raises(TaskError, match=message):
        RelationshipNetwork(MLP(6, (5,)), TASKS, **{"tower": lambda: MLP(5, (4,)), **settings})


def test_towers_must_be_alike():
    widths = iter((4, 3, 4))
    with pytest.raises(TaskError, match=r"'0\.0\.weight' is \(4, 5\) for 'a' and \(3, 5\) for 'b'"):
        RelationshipNetwork(MLP(6, (5,)), TASKS, tower=lambda: MLP(5, (next(widths),)))
    model = RelationshipNetwork(MLP(6, (5,)), TASKS, tower=lambda: MLP(5, (4,)), modes=("feature",))
    with pytest.raises(TaskError, match="no task covariance"):
        model.task_correlation()
    with pytest.raises(TaskError, match="layer 'x' is not coupled"):
        related().task_correlation("x")
