"""Deep relationship networks: laws, the prior against Kronecker products, flip-flop, closed form, errors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import taskloom as tl
from taskloom.data.tensors import TaskTensors
from taskloom.errors import TaskError
from taskloom.nn import MLP, RelationshipNetwork
from taskloom.nn._tensor_normal import TensorNormal
from taskloom.nn.relationship import _closed_form
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
    prior = TensorNormal(shape, modes=(0, 1, 2), ridge=1e-3, smallest_variance=1e-2)
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
    prior = TensorNormal(weights.shape, modes=(0, 1, 2), ridge=1e-12, smallest_variance=1e-9)
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
        other = TensorNormal(weights.shape, modes=(0, 1, 2), ridge=1e-12, smallest_variance=1e-9)
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


MODES = [(0, 1, 2), (2,), (0, 2), (1,)]


@st.composite
def stacks(draw: st.DrawFn) -> torch.Tensor:
    """Weights of up to ten tasks as trainings may leave them: tasks or layers that are zero, tasks that are equal."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 10])))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    weights = torch.randn(shape, dtype=torch.float64, generator=generator)
    match draw(st.sampled_from(["all", "equal", "opposed", "zero", "one", "some"])):
        case "equal":
            weights = weights[..., :1].expand(shape).clone()
        case "opposed":
            weights = weights[..., :1] * torch.linspace(-1, 1, shape[2], dtype=torch.float64)
        case "zero":
            weights = torch.zeros_like(weights)
        case "one":
            weights[..., 1:] = 0
        case "some":
            weights = weights * (torch.rand(shape, generator=generator) < 0.3)
    return weights * 10.0 ** draw(st.integers(-38, 38))


@settings(max_examples=60, deadline=None)
@given(weights=stacks(), modes=st.sampled_from(MODES), ridge=st.sampled_from([1e-9, 1e-3, 1.0]), after=st.floats(-9, 9))
def test_no_weights_let_the_prior_pull_more_than_its_bound(weights, modes, ridge, after):
    prior = TensorNormal(weights.shape, modes=modes, ridge=ridge, smallest_variance=0.02)
    for _ in range(3):
        prior.update(weights)
    later = (weights * 10.0**after).requires_grad_()  # before the next update, weights move on
    value = prior(later)
    (gradient,) = torch.autograd.grad(value, later)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    size = later.detach().norm()
    assert gradient.norm() <= (1 + 1e-6) * size / 0.02
    for mode in modes:
        covariance = prior.covariance(mode)
        assert torch.isfinite(covariance).all()
        correlation = covariance / torch.outer(covariance.diagonal(), covariance.diagonal()).sqrt()
        assert correlation.abs().max() <= 1 + 1e-9


@settings(max_examples=30, deadline=None)
@given(weights=stacks(), modes=st.sampled_from(MODES), power=st.integers(0, 6))
def test_above_the_bound_the_scale_of_weights_changes_nothing_else(weights, modes, power):
    """Covariances follow the square of the weights, and relations do not follow them at all."""
    weights = weights / weights.abs().max().clamp(min=1e-38)
    assume(weights.abs().max() > 0)
    found = []
    for scale in (1.0, 10.0**power):
        prior = TensorNormal(weights.shape, modes=modes, ridge=1e-2, smallest_variance=1e-12)
        for _ in range(3):
            prior.update(scale * weights)
        found.append(prior)
    last = modes[-1]
    one, many = (prior.covariance(last) for prior in found)
    torch.testing.assert_close(many / 10.0 ** (2 * power), one, rtol=1e-6, atol=1e-9 * one.abs().max().item())


def test_weights_of_zero_say_nothing_about_relations():
    for modes in MODES:
        prior = TensorNormal((2, 3, 4), modes=modes, ridge=1e-3, smallest_variance=0.02)
        prior.set_covariance(modes[-1], covariance((2, 3, 4)[modes[-1]], 0))
        prior.update(torch.zeros(2, 3, 4))
        weights = torch.ones(2, 3, 4, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(prior(weights), weights)
        torch.testing.assert_close(gradient, weights.detach() / 0.02, rtol=1e-12, atol=0)


def test_covariances_that_ridges_would_multiply_keep_one_ridge_together():
    """Equal features, outputs and tasks: three ridges of 1e-3 leave their product 1e-9 of the mean, the prior 1e-3."""
    prior = TensorNormal((3, 3, 3), modes=(0, 1, 2), ridge=1e-3, smallest_variance=1e-6)
    prior.update(torch.ones(3, 3, 3))
    weights = torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(prior(weights), weights)
    mean = math.prod(prior.covariance(mode).diagonal().mean().item() for mode in (0, 1, 2))
    assert 100 / mean < gradient.norm() / weights.detach().norm() <= 1001.01 / mean


@settings(max_examples=40, deadline=None)
@given(weights=stacks(), ridge=st.sampled_from([1e-9, 1e-3, 1.0]))
def test_the_closed_form_has_trace_one_whatever_the_weights_are(weights, ridge):
    found = _closed_form(weights, ridge)
    n_tasks = weights.shape[-1]
    assert found.trace().item() == pytest.approx(1.0)
    assert torch.linalg.eigvalsh(found)[0] >= ridge / (1 + ridge) / n_tasks - 1e-14


def descended(
    model: RelationshipNetwork, targets: torch.Tensor, *, inputs: torch.Tensor, optimiser: torch.optim.Optimizer
) -> float:
    """Loss of the tasks after 200 steps in float32, every one of which is finite."""
    (phase,) = model.phases()
    for step in range(200):
        loss = (torch.cat(list(model(inputs).values()), 1) - targets).square().mean()
        total = len(model.tasks) * loss + model.penalty()
        assert torch.isfinite(total), step
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        phase.on_step(step, 200)
    return loss.item()


def network(n_tasks: int, **settings) -> RelationshipNetwork:
    torch.manual_seed(0)
    tasks = [Task(name=f"task {k}", kind=Regression()) for k in range(n_tasks)]
    return RelationshipNetwork(MLP(6, (16,)), tasks, tower=lambda: MLP(16, (12,)), every=20, **settings)


@pytest.mark.parametrize(
    "settings",
    [{"modes": ("task",)}, {"modes": ("feature", "output", "task")}, {"estimator": "mtrl", "ridge": 1e-4}],
    ids=["task", "all", "mtrl"],
)
@pytest.mark.parametrize("alike", [False, True], ids=["fresh", "alike"])
@pytest.mark.parametrize(("strength", "n_tasks"), [(0.01, 3), (0.15, 3), (0.15, 10)])
def test_weights_and_variances_do_not_draw_each_other_to_zero(settings, alike, strength, n_tasks):
    """Plain gradient descent, nothing to learn. Without bounds no training with the flip-flop stayed finite."""
    model = network(n_tasks, strength=strength, **settings)
    if alike:
        for tower in model.towers:
            tower.load_state_dict(model.towers[0].state_dict())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.03)
    descended(model, torch.randn(32, n_tasks), inputs=torch.randn(32, 6), optimiser=optimiser)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert torch.isfinite(model.task_correlation()).all()


def test_tasks_are_learned_under_a_strong_prior():
    """Without bounds the coupled layers were lost: the loss stayed at what a constant has."""
    model = network(3, strength=0.05)
    inputs = torch.randn(64, 6)
    targets = torch.tanh(inputs[:, :1] - inputs[:, 1:2]) * torch.tensor([1.0, 1.0, -1.0])
    loss = descended(model, targets, inputs=inputs, optimiser=torch.optim.Adam(model.parameters(), lr=0.01))
    assert loss < 0.1 * targets.var().item()


def test_weights_that_are_not_finite_leave_the_covariances_alone():
    for estimator in ("flip-flop", "mtrl"):
        model = related(estimator=estimator)
        model.update_covariances()
        before = model.priors[0].covariance(2).clone()
        with torch.no_grad():
            model.towers[1].get_parameter("0.0.weight")[0, 0] = torch.nan
        model.update_covariances()
        assert torch.equal(model.priors[0].covariance(2), before)


def test_covariances_stay_in_double_precision_whatever_the_weights_are():
    model = related(modes=("feature", "output", "task"))
    model.update_covariances()
    before = {name: value.clone() for name, value in model.priors.named_buffers()}
    expected = model.penalty()
    model.half()
    assert all(torch.equal(value, before[name]) for name, value in model.priors.named_buffers())
    penalty = model.penalty()
    assert penalty.dtype == torch.float32
    torch.testing.assert_close(penalty.double(), expected, rtol=1e-2, atol=0)
    penalty.backward()
    assert all(torch.isfinite(tower.get_parameter("0.0.weight").grad).all() for tower in model.towers)


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
    ("wrong", "message"),
    [
        ({"modes": ("tasks",)}, "expected some of"),
        ({"modes": ("feature", "task"), "estimator": "mtrl"}, "closed form for modes"),
        ({"estimator": "map"}, "'flip-flop' or 'mtrl'"),
        ({"every": 0}, "every must be 1 or more"),
        ({"strength": -1.0}, "strength must be 0 or more"),
        ({"ridge": 0.0}, "ridge must be 1e-09 or more"),
        ({"smallest_variance": 0.0}, "smallest_variance must be positive and finite"),
        ({"layers": ("none*",)}, "no weight of the towers matches"),
        ({"modes": ("feature",), "tower": lambda: nn.Linear(9000, 1)}, r"9000 features.*use modes=\('task',\)"),
    ],
    ids=["modes", "mtrl", "estimator", "every", "strength", "ridge", "variance", "layers", "large"],
)
def test_bad_settings(wrong, message):
    with pytest.raises(TaskError, match=message):
        RelationshipNetwork(MLP(6, (5,)), TASKS, **{"tower": lambda: MLP(5, (4,)), **wrong})


def test_towers_must_be_alike():
    widths = iter((4, 3, 4))
    with pytest.raises(TaskError, match=r"'0\.0\.weight' is \(4, 5\) for 'a' and \(3, 5\) for 'b'"):
        RelationshipNetwork(MLP(6, (5,)), TASKS, tower=lambda: MLP(5, (next(widths),)))
    model = RelationshipNetwork(MLP(6, (5,)), TASKS, tower=lambda: MLP(5, (4,)), modes=("feature",))
    with pytest.raises(TaskError, match="no task covariance"):
        model.task_correlation()
    with pytest.raises(TaskError, match="layer 'x' is not coupled"):
        related().task_correlation("x")
