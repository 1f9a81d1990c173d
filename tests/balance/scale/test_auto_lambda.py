"""Auto-Lambda: its meta gradient against differentiation through the step, training, which tasks count."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer
from taskloom.balance.flow import Rows
from taskloom.balance.scale.auto_lambda import AutoLambda, auto_lambda
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def bound(n_tasks: int, primary: object = None, **options: object) -> Balancer:
    balancer = auto_lambda(primary, **{"inner_lr": 0.1, **options})
    balancer.bind([f"task {position}" for position in range(n_tasks)])
    return balancer.double()


def weight_of(balancer: Balancer) -> torch.nn.Parameter:
    link = next(iter(balancer))
    assert isinstance(link, AutoLambda)
    return link.weight


class Quadratics:
    """l_i = |A_i theta - b_i|^2 / 2 on a training and a held-out batch."""

    def __init__(self) -> None:
        generator = torch_stream(0, "auto lambda")
        self.maps = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
        self.goals = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
        self.theta = torch.randn(4, generator=generator, dtype=torch.float64)

    def losses(self, batch: int, theta: Tensor) -> Tensor:
        return ((self.maps[batch] @ theta - self.goals[batch]) ** 2).sum(1) / 2

    def gradients(self, batch: int, theta: Tensor) -> Tensor:
        return torch.func.jacrev(lambda at: self.losses(batch, at))(theta)


@pytest.mark.parametrize("primary", [[0], ["task 1", 2], None])
def test_the_meta_gradient_is_that_of_the_look_ahead(primary: list[str | int] | None) -> None:
    problem, step = Quadratics(), 0.01
    weights = torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    training = problem.gradients(0, problem.theta)
    ahead = problem.theta - step * weights @ training
    counted = [0, 1, 2] if primary is None else [0] if primary == [0] else [1, 2]
    (expected,) = torch.autograd.grad(problem.losses(1, ahead)[counted].sum(), weights)
    held_out = problem.gradients(1, ahead.detach())
    balancer = bound(3, primary, inner_lr=step)
    cross = Rows((training,)).cross(Rows((held_out,)))
    found = balancer.combine(problem.losses(0, problem.theta), cross=cross)
    found.penalty.backward()
    torch.testing.assert_close(weight_of(balancer).grad, expected, **CLOSE)
    assert float(found.penalty.detach()) == 0
    assert not found.weights.requires_grad


def test_finite_differences_agree() -> None:
    """The official code's way: the change of the training gradients' products between theta +- eps g_val."""
    problem = Quadratics()
    held_out = problem.gradients(1, problem.theta)[0]
    small = 0.01 / float(held_out.norm())
    above, below = (problem.losses(0, problem.theta + sign * small * held_out) for sign in (1, -1))
    expected = -0.1 * (above - below) / (2 * small)  # exact on quadratics
    balancer = bound(3, 0)
    cross = problem.gradients(0, problem.theta) @ problem.gradients(1, problem.theta).T
    balancer.combine(torch.ones(3).double(), cross=cross).penalty.backward()
    torch.testing.assert_close(weight_of(balancer).grad, expected, rtol=1e-8, atol=1e-10)


def test_helpful_tasks_gain_weight() -> None:
    balancer = bound(3, "task 0", lr=0.01)
    optimiser = torch.optim.Adam(balancer.parameter_groups())
    assert optimiser.param_groups[0]["lr"] == 0.01
    cross = torch.tensor([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.5, 0.0, 1.0]], dtype=torch.float64)
    for _ in range(30):
        optimiser.zero_grad()
        balancer.combine(torch.ones(3).double(), cross=cross).penalty.backward()
        optimiser.step()
    weights = balancer.combine(torch.ones(3).double(), cross=cross).weights
    assert float(weights[1]) > 0.1 > float(weights[2])
    assert float(weights[2]) < 0  # as in the paper, unless asked for
    kept = bound(3, "task 0", nonnegative=True)
    kept.load_state_dict(balancer.state_dict())
    assert float(kept.combine(torch.ones(3).double(), cross=cross).weights.min()) == 0
    balancer.reset()
    torch.testing.assert_close(weight_of(balancer).detach(), torch.full((3,), 0.1).double())


def test_held_out_data_stay_out_of_the_step() -> None:
    training, held_out, more = torch.randn(3, 3, 4, generator=torch_stream(1, "auto lambda"), dtype=torch.float64)
    for others in ([held_out], [held_out, more]):
        found = bound(3, 0).step(training, others=others)
        torch.testing.assert_close(found.direction, 0.1 * training.sum(0), rtol=1e-6, atol=0)
    assert auto_lambda(0, inner_lr=0.1).learns_from_first


def test_absent_tasks_get_no_gradient() -> None:
    balancer = bound(3, ["task 0", "task 1"])
    cross = torch.tensor([[1.0, 5.0], [0.5, 1.0]], dtype=torch.float64)
    balancer.combine(torch.ones(2).double(), cross=cross, tasks=["task 0", "task 2"]).penalty.backward()
    torch.testing.assert_close(weight_of(balancer).grad, torch.tensor([-0.1, 0.0, -0.05]).double(), rtol=1e-6, atol=0)


def test_bad_arguments_are_named() -> None:
    for wrong in ({"inner_lr": 0.0}, {"inner_lr": 0.1, "lr": 0.0}):
        with pytest.raises(BalanceError, match="must be positive"):
            auto_lambda(0, **wrong)
    with pytest.raises(BalanceError, match="names no task"):
        auto_lambda([], inner_lr=0.1)
    with pytest.raises(BalanceError, match="there is no task 'dept'"):
        auto_lambda("dept", inner_lr=0.1).bind(["depth", "normals"])
    with pytest.raises(BalanceError, match="primary = 2, but there are 2 tasks"):
        auto_lambda([0, 2], inner_lr=0.1).bind(["depth", "normals"])
    with pytest.raises(BalanceError, match="2 independent batches"):
        bound(2).direction(torch.eye(2))
    assert repr(auto_lambda("depth", inner_lr=0.1)) == "chain(auto_lambda(['depth']))"
