"""IMTL-L: equations, the rest point, and how it is trained."""

from __future__ import annotations

import math

import pytest
import torch

from taskloom.balance.base import Balancer
from taskloom.balance.scale.imtl_l import LogScales, imtl_l
from taskloom.errors import BalanceError

NAMES = ["a", "b", "c"]
LOSSES = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)


def bound(**settings: object) -> Balancer:
    balancer = imtl_l(**settings)
    balancer.bind(NAMES)
    balancer.double().reset()
    return balancer


def scales(balancer: Balancer) -> torch.Tensor:
    (link,) = balancer
    assert isinstance(link, LogScales)
    return link.log_scale


def test_equations() -> None:
    start = [0.3, -0.2, 1.0]
    balancer = bound(init=start)
    combination = balancer.combine(LOSSES)
    torch.testing.assert_close(combination.weights.tolist(), [math.exp(s) for s in start])
    torch.testing.assert_close(float(combination.penalty.detach()), -sum(start))
    total = (combination.weights * LOSSES).sum() + combination.penalty
    (gradient,) = torch.autograd.grad(total, [scales(balancer)])
    torch.testing.assert_close(
        gradient.tolist(), [math.exp(s) * x - 1 for s, x in zip(start, LOSSES.tolist(), strict=True)]
    )


def test_rests_where_every_scaled_loss_is_one() -> None:
    balancer = bound()
    optimiser = torch.optim.SGD(balancer.parameters(), lr=0.2)
    for _ in range(300):
        optimiser.zero_grad()
        combination = balancer.combine(LOSSES)
        torch.autograd.backward((combination.weights * LOSSES).sum() + combination.penalty)
        optimiser.step()
    torch.testing.assert_close(balancer.combine(LOSSES).weights.detach() * LOSSES, torch.ones(3, dtype=torch.float64))


def test_absent_tasks_are_not_trained() -> None:
    balancer = bound(init={"c": 2.0, "b": 1.0, "a": 0.5})
    masked = balancer.combine(torch.tensor([1.0, 0.0, 2.0]).double(), active=torch.tensor([True, False, True]))
    assert float(masked.penalty.detach()) == -2.5
    torch.autograd.backward((masked.weights * torch.tensor([1.0, 0.0, 2.0])).sum() + masked.penalty)
    assert scales(balancer).grad[1] == 0
    fewer = balancer.combine(torch.ones(1), tasks=["b"])
    torch.testing.assert_close(fewer.weights.tolist(), [math.e], rtol=1e-6, atol=0)


def test_own_parameter_group_and_reset() -> None:
    balancer = bound(init=0.5)
    assert [(group["lr"], group["weight_decay"]) for group in balancer.parameter_groups()] == [(0.025, 0.0)]
    with torch.no_grad():
        scales(balancer).add_(1.0)
    other = bound()
    other.load_state_dict(balancer.state_dict())
    assert scales(other).tolist() == [1.5] * 3
    other.reset()
    assert scales(other).tolist() == [0.0] * 3
    assert list(balancer.state_dict()) == ["_extra_state", "links.0.log_scale"]


def test_negative_losses_are_refused() -> None:
    with pytest.raises(BalanceError, match=r"tasks \['b'\] are negative.* Add an offset"):
        bound().weights(None, torch.tensor([1.0, -0.1, 0.0]))


def test_needs_to_know_its_tasks_first() -> None:
    with pytest.raises(BalanceError, match=r"call balancer.bind\(tasks\) first"):
        imtl_l().parameter_groups()
    with pytest.raises(BalanceError, match=r"call balancer\.bind"):
        imtl_l().combine(torch.ones(2))


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match=r"imtl_l\(\): init"):
        imtl_l(float("nan"))
    with pytest.raises(BalanceError, match="2 numbers for 3 tasks"):
        bound(init=[1.0, 2.0])
