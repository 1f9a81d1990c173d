"""GradNorm: its loss and closed-form gradient, training of its weights, first losses, steps that lack tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer, Need
from taskloom.balance.scale.gradnorm import GradNorm, gradnorm, gradnorm_loss
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def layer(n_tasks: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, 6, generator=torch_stream(seed, "gradnorm"), dtype=torch.float64)


def bound(n_tasks: int, alpha: float = 1.5, **options: object) -> Balancer:
    balancer = gradnorm(alpha, **options)
    balancer.bind([f"task {position}" for position in range(n_tasks)])
    return balancer.double()


def link_of(balancer: Balancer) -> GradNorm:
    link = next(iter(balancer))
    assert isinstance(link, GradNorm)
    return link


@pytest.mark.parametrize("alpha", [0.0, 0.12, 1.5])
def test_the_gradient_is_that_of_the_loss_with_a_constant_target(alpha: float) -> None:
    weights = torch.tensor([0.7, 1.5, 0.8], dtype=torch.float64, requires_grad=True)
    norms, ratios = layer(3).norm(dim=1), torch.tensor([0.5, 1.0, 0.3], dtype=torch.float64)
    lengths = weights * norms
    target = (lengths.mean() * (ratios / ratios.mean()) ** alpha).detach()
    expected = (lengths - target).abs().sum()
    (slope,) = torch.autograd.grad(expected, weights)
    value, gradient = gradnorm_loss(weights.detach(), norms, ratios=ratios, alpha=alpha)
    torch.testing.assert_close(value, expected.detach(), **CLOSE)
    torch.testing.assert_close(gradient, slope, **CLOSE)


def test_a_backward_pass_gives_the_weights_their_gradient_and_nothing_else() -> None:
    balancer, rows = bound(3), layer(3)
    losses = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    found = balancer.combine(losses, last_layer=rows @ rows.T)
    assert float(found.penalty.detach()) == 0
    assert not found.weights.requires_grad
    ((found.weights * losses).sum() + found.penalty).backward()
    _, gradient = gradnorm_loss(torch.ones(3).double(), rows.norm(dim=1), ratios=torch.ones(3).double(), alpha=1.5)
    torch.testing.assert_close(link_of(balancer).weight.grad, gradient, **CLOSE)
    torch.testing.assert_close(losses.grad, torch.ones(3).double(), **CLOSE)
    assert balancer.needs == Need.LOSSES | Need.LAST_LAYER
    assert balancer.head_gradient == "weighted"


def test_weights_sum_to_the_number_of_tasks_after_every_step() -> None:
    balancer = bound(4)
    optimiser = torch.optim.Adam(balancer.parameter_groups())
    assert optimiser.param_groups[0]["lr"] == 0.025
    assert optimiser.param_groups[0]["weight_decay"] == 0
    for step in range(20):
        rows = layer(4, step) * torch.tensor([[1.0], [10.0], [0.1], [1.0]])
        optimiser.zero_grad()
        found = balancer.combine(torch.ones(4).double(), last_layer=rows @ rows.T)
        assert float(found.weights.sum()) == pytest.approx(4)
        found.penalty.backward()
        optimiser.step()
    weights = balancer.combine(torch.ones(4).double(), last_layer=rows @ rows.T).weights
    assert float(weights[2]) > float(weights[0]) > float(weights[1])


def test_training_balances_gradient_norms_at_the_wanted_ratio() -> None:
    for alpha in (0.0, 1.0):
        balancer = bound(2, alpha, initial_losses=[1.0, 1.0], lr=1e-3)
        optimiser = torch.optim.SGD(balancer.parameter_groups())
        rows = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64))
        losses = torch.tensor([0.9, 0.6], dtype=torch.float64)  # the first task lags behind
        for _ in range(600):
            optimiser.zero_grad()
            balancer.combine(losses, last_layer=rows @ rows.T).penalty.backward()
            optimiser.step()
        lengths = balancer.combine(losses, last_layer=rows @ rows.T).weights * torch.tensor([1.0, 4.0])
        expected = (losses / losses.mean()) ** alpha
        torch.testing.assert_close(lengths / lengths.mean(), expected, rtol=0.02, atol=0)


def test_a_common_scale_of_the_losses_keeps_the_signs() -> None:
    gradients = []
    for scale in (1.0, 1e3):
        balancer = bound(3)
        for losses in ([1.0, 2.0, 3.0], [0.5, 1.9, 1.0]):
            balancer.zero_grad()
            rows = scale * layer(3)
            given = scale * torch.tensor(losses, dtype=torch.float64)
            balancer.combine(given, last_layer=rows @ rows.T).penalty.backward()
        gradients.append(link_of(balancer).weight.grad)
    torch.testing.assert_close(gradients[1], 1e3 * gradients[0], **CLOSE)


def test_weights_that_cross_zero_come_back() -> None:
    balancer = bound(3)
    with torch.no_grad():
        link_of(balancer).weight.copy_(torch.tensor([-0.5, 1.0, 1.0]))
    weights = balancer.combine(torch.ones(3).double(), last_layer=torch.eye(3).double()).weights
    assert float(weights.min()) > 0
    assert float(weights.sum()) == pytest.approx(3)


def test_a_single_task_has_weight_one() -> None:
    balancer = bound(1)
    optimiser = torch.optim.Adam(balancer.parameter_groups())
    for loss in (2.0, 1.0, 0.0):
        found = balancer.combine(torch.tensor([loss], dtype=torch.float64), last_layer=torch.ones(1, 1).double())
        found.penalty.backward()
        assert found.weights.tolist() == [1.0]
        optimiser.step()


def test_zero_gradients_train_nothing() -> None:
    balancer = bound(3)
    balancer.combine(torch.ones(3).double(), last_layer=torch.zeros(3, 3).double()).penalty.backward()
    assert link_of(balancer).weight.grad.tolist() == [0.0] * 3


def test_first_losses() -> None:
    rows = layer(2)
    averaged, given = bound(2, n_first=2), bound(2, initial_losses={"task 1": 4.0, "task 0": 2.0})
    for losses in ([1.0, 3.0], [3.0, 5.0], [2.0, 1.0]):
        for balancer in (averaged, given):
            balancer.zero_grad()
            step = torch.tensor(losses, dtype=torch.float64)
            balancer.combine(step, last_layer=rows @ rows.T).penalty.backward()
    assert link_of(averaged).first.tolist() == [2.0, 4.0]
    assert link_of(averaged).weight.grad.tolist() == link_of(given).weight.grad.tolist()


def test_absent_tasks_keep_their_state() -> None:
    balancer = bound(3)
    rows = layer(2)
    losses = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = balancer.combine(losses, last_layer=rows @ rows.T, tasks=["task 0", "task 2"])
    found.penalty.backward()
    link = link_of(balancer)
    assert link.first.tolist() == [1.0, 0.0, 2.0]
    assert float(link.weight.grad[1]) == 0
    balancer.zero_grad()
    wide = torch.zeros(3, 6, dtype=torch.float64)
    wide[[0, 2]] = rows
    present = torch.tensor([True, False, True])
    balancer.combine(
        torch.tensor([2.0, 0.0, 2.0]).double(), last_layer=wide @ wide.T, active=present
    ).penalty.backward()
    _, expected = gradnorm_loss(
        torch.ones(2).double(), rows.norm(dim=1), ratios=torch.tensor([2.0, 1.0]).double(), alpha=1.5
    )
    torch.testing.assert_close(link.weight.grad[[0, 2]], expected, **CLOSE)
    assert float(link.weight.grad[1]) == 0
    assert link.seen.tolist() == [2.0, 0.0, 2.0]


def test_state_goes_on_after_loading() -> None:
    first, second = bound(3), bound(3)
    rows = layer(3)
    with torch.no_grad():
        link_of(first).weight.copy_(torch.tensor([0.5, 1.0, 1.5]))
    first.combine(torch.ones(3).double(), last_layer=rows @ rows.T)
    second.load_state_dict(first.state_dict())
    for balancer in (first, second):
        balancer.combine(2 * torch.ones(3).double(), last_layer=rows @ rows.T).penalty.backward()
    assert torch.equal(link_of(first).weight.grad, link_of(second).weight.grad)
    first.reset()
    assert link_of(first).weight.tolist() == [1.0] * 3
    assert link_of(first).seen.tolist() == [0.0] * 3


def test_bad_arguments_and_losses_are_named() -> None:
    for wrong in ({"alpha": -1.0}, {"lr": 0.0}, {"n_first": 0}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            gradnorm(**wrong)
    with pytest.raises(BalanceError, match="initial_losses: found 0"):
        gradnorm(initial_losses=[0.0, 1.0])
    balancer = bound(2)
    with pytest.raises(BalanceError, match="task 'task 1' is 0"):
        balancer.weights(torch.eye(2), torch.tensor([1.0, 0.0]))
    balancer.weights(torch.eye(2), torch.tensor([1.0, 1.0]))
    balancer.weights(torch.eye(2), torch.tensor([1.0, 0.0]))  # later losses may be 0
    with pytest.raises(BalanceError, match="task 'task 0' is -1"):
        balancer.weights(torch.eye(2), torch.tensor([-1.0, 0.0]))
    with pytest.raises(BalanceError, match="bind"):
        gradnorm().parameter_groups()
    assert repr(gradnorm(0.12)) == "chain(gradnorm(0.12))"
