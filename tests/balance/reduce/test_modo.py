"""MoDo: against its definition and TorchJD, which batches it uses, and steps that lack tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer
from taskloom.balance.reduce.modo import MoDo, modo
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def jacobians(n_tasks: int, size: int, seed: int = 0, n_batches: int = 3) -> list[Tensor]:
    generator = torch_stream(seed, "modo")
    return [torch.randn(n_tasks, size, generator=generator, dtype=torch.float64) for _ in range(n_batches)]


def weight_of(balancer: Balancer) -> Tensor:
    link = next(iter(balancer))
    assert isinstance(link, MoDo)
    return link.weight


def test_two_tasks_in_closed_form() -> None:
    first, second = torch.diag(torch.tensor([1.0, 2.0])), torch.diag(torch.tensor([3.0, 1.0]))
    found = modo(gamma=0.1, rho=0.5).step(first.double(), others=[second.double()]).weights
    # lambda - gamma (A lambda + rho lambda) = (0.5 - 0.1 * 1.75, 0.5 - 0.1 * 1.25), then both + 0.15
    torch.testing.assert_close(found, torch.tensor([0.475, 0.525], dtype=torch.float64), **CLOSE)


def test_torchjd_agrees_over_steps() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    theirs, ours = aggregation.MoDoWeighting(gamma=0.1, rho=0.1), modo(0.1, 0.1)
    for step in range(6):
        first, second, _ = jacobians(4, 6, step)
        expected = theirs(first @ second.T)
        torch.testing.assert_close(ours.step(first, others=[second]).weights, expected, **CLOSE)


def test_the_direction_is_made_of_two_or_of_the_third_batch() -> None:
    first, second, third = jacobians(3, 5)
    two = modo(0.1).step(first, others=[second])
    torch.testing.assert_close(two.direction, two.weights @ (first + second) / 2, **CLOSE)
    three = modo(0.1).step(first, others=[second, third])
    torch.testing.assert_close(three.weights, two.weights, **CLOSE)
    torch.testing.assert_close(three.direction, three.weights @ third, **CLOSE)


def test_one_batch_is_not_enough() -> None:
    with pytest.raises(BalanceError, match="2 independent batches"):
        modo().direction(torch.eye(2))
    with pytest.raises(BalanceError, match="compares independent batches"):
        modo().weights(torch.eye(2))


def test_steps_without_gradients_change_nothing() -> None:
    balancer = modo(0.1)
    first, second, _ = jacobians(3, 5)
    before = balancer.step(first, others=[second]).weights
    zero = torch.zeros_like(first)
    found = balancer.step(zero, others=[zero])
    assert torch.equal(found.weights, before)
    assert found.direction.tolist() == [0.0] * 5
    assert modo().step(torch.ones(1, 2), others=[torch.ones(1, 2)]).weights.tolist() == [1.0]


def test_absent_tasks_keep_their_weight() -> None:
    by_name, by_mask = modo(0.3), modo(0.3)
    first, second, _ = jacobians(3, 5)
    for balancer in (by_name, by_mask):
        balancer.bind(["a", "b", "c"])
        balancer.step(first, others=[second])
    before = weight_of(by_name).clone()
    cross = first @ second.T
    cross[1], cross[:, 1] = 0, 0
    kept = [0, 2]
    named = by_name.combine(torch.zeros(2).double(), cross=cross[kept][:, kept], tasks=["a", "c"]).weights
    present = torch.tensor([True, False, True])
    masked = by_mask.combine(torch.zeros(3).double(), cross=cross, active=present).weights
    torch.testing.assert_close(masked[kept], named, **CLOSE)
    assert float(named.sum()) == pytest.approx(1)
    for balancer in (by_name, by_mask):
        after = weight_of(balancer)
        assert float(after[1]) == float(before[1])
        assert float(after.sum()) == pytest.approx(1)
        assert float(after[0]) != float(before[0])


def test_bad_arguments_are_named() -> None:
    for wrong in ({"gamma": -1.0}, {"rho": -1.0}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            modo(**wrong)
    assert repr(modo()) == "chain(modo(0.001, 0.1))"
