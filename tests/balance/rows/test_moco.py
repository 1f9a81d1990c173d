"""MoCo: against its definition, where it converges to, what it remembers, and steps that lack tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer
from taskloom.balance.flow import Rows
from taskloom.balance.rows.moco import MoCo, moco
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "moco"), dtype=torch.float64)


def link_of(balancer: Balancer) -> MoCo:
    link = next(iter(balancer))
    assert isinstance(link, MoCo)
    return link


def projected(point: Tensor) -> Tensor:
    """Projection on the simplex by bisection of the shift."""
    low, high = point.min() - 1, point.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (point - middle).clamp(min=0).sum() > 1 else (low, middle)
    return (point - high).clamp(min=0)


@pytest.mark.parametrize("row_scaling", [None, "loss"])
def test_follows_the_definition(row_scaling: str | None) -> None:
    balancer = moco(0.5, beta_sigma=0.5, gamma=0.3, gamma_sigma=0.2, rho=0.1, row_scaling=row_scaling)
    tracked, weight = torch.zeros(4, 6, dtype=torch.float64), torch.full((4,), 0.25, dtype=torch.float64)
    losses = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    for step in range(1, 7):
        rows = jacobian(4, 6, seed=step)
        given = rows if row_scaling is None else losses.unsqueeze(1) * rows / rows.norm(dim=1, keepdim=True)
        tracked = tracked - 0.5 / step**0.5 * (tracked - given)
        slope = tracked @ (tracked.T @ weight) + 0.1 * weight
        weight = projected(weight - 0.3 / step**0.2 * slope)
        found = balancer.step(rows, losses)
        torch.testing.assert_close(found.weights, weight, **CLOSE)
        torch.testing.assert_close(found.direction, weight @ tracked, **CLOSE)


def test_constant_gradients_lead_to_the_min_norm_direction() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    balancer = moco(1.0, beta_sigma=0.0, gamma=0.05, gamma_sigma=0.0)
    for _ in range(300):
        found = balancer.step(rows)
    torch.testing.assert_close(found.weights, torch.tensor([0.9, 0.1], dtype=torch.float64), rtol=1e-6, atol=1e-9)


def test_steps_without_gradients_are_not_remembered() -> None:
    balancer = moco()
    assert balancer.step(torch.zeros(4, 3).double()).weights.tolist() == [0.25] * 4
    balancer.step(jacobian(4, 3))
    link = link_of(balancer)
    before = [state.clone() for state in (link.weight, link.seen, link.tracked.rows)]
    assert balancer.direction(torch.zeros(4, 3).double()).tolist() == [0.0] * 3
    for old, new in zip(before, (link.weight, link.seen, link.tracked.rows), strict=True):
        assert torch.equal(old, new)
    assert moco().step(torch.ones(1, 3)).weights.tolist() == [1.0]


def test_absent_tasks_keep_their_state() -> None:
    by_name, by_mask = moco(gamma=0.3), moco(gamma=0.3)
    for balancer in (by_name, by_mask):
        balancer.bind(["a", "b", "c"])
        balancer.step(jacobian(3, 5))
    before, tracked = link_of(by_name).weight.clone(), link_of(by_name).tracked.rows[1].clone()
    rows = jacobian(3, 5, seed=1)
    rows[1] = 0
    kept = [0, 2]
    named = by_name.combine(torch.zeros(2).double(), rows=Rows((rows[kept],)), tasks=["a", "c"])
    present = torch.tensor([True, False, True])
    masked = by_mask.combine(torch.zeros(3).double(), rows=Rows((rows,)), active=present)
    torch.testing.assert_close(masked.weights[kept], named.weights, **CLOSE)
    torch.testing.assert_close(masked.direction, named.direction, **CLOSE)
    assert float(named.weights.sum()) == pytest.approx(1)
    for balancer in (by_name, by_mask):
        weight = link_of(balancer).weight
        assert float(weight[1]) == float(before[1])
        assert float(weight.sum()) == pytest.approx(1)
        assert not torch.equal(weight, before)
        assert torch.equal(link_of(balancer).tracked.rows[1], tracked)


def test_bad_arguments_are_named() -> None:
    for wrong in ({"beta": 0.0}, {"beta_sigma": -1.0}, {"gamma": -1.0}, {"rho": -0.1}, {"row_scaling": "norm"}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            moco(**wrong)
    assert repr(moco()) == "chain(moco(beta=0.5, gamma=0.1))"
