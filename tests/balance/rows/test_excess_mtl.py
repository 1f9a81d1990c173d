"""ExcessMTL: against its definition, what it remembers, and steps that lack tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer
from taskloom.balance.flow import Rows
from taskloom.balance.rows.excess_mtl import ExcessMTL, excess_mtl
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-10, "atol": 1e-13}


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "excess"), dtype=torch.float64)


def link_of(balancer: Balancer) -> ExcessMTL:
    link = next(iter(balancer))
    assert isinstance(link, ExcessMTL)
    return link


def state_of(balancer: Balancer) -> list[Tensor]:
    link = link_of(balancer)
    return [state.clone() for state in (link.log_weight, link.first, link.seen, link.squares.rows)]


def by_definition(path: list[Tensor], step_size: float, warmup: int = 0, eps: float = 1e-7) -> list[Tensor]:
    n_tasks = len(path[0])
    squares, weight = torch.zeros_like(path[0]), torch.full((n_tasks,), 1 / n_tasks, dtype=torch.float64)
    first, found = [], []
    for step, rows in enumerate(path):
        squares = squares + rows.square()
        excess = (rows.square() / (squares + eps).sqrt()).sum(1)
        if step <= warmup:
            first.append(excess)
        else:
            weight = weight * torch.exp(step_size * excess / torch.stack(first).mean(0))
            weight = weight / weight.sum()
        found.append(weight)
    return found


@pytest.mark.parametrize(("step_size", "warmup"), [(0.01, 0), (1.0, 0), (0.5, 2)])
def test_follows_the_definition(step_size: float, warmup: int) -> None:
    path = [jacobian(4, 6, seed=step) for step in range(6)]
    balancer = excess_mtl(step_size, warmup=warmup)
    for rows, expected in zip(path, by_definition(path, step_size, warmup), strict=True):
        found = balancer.step(rows)
        torch.testing.assert_close(found.weights, expected, **CLOSE)
        torch.testing.assert_close(found.direction, expected @ rows, **CLOSE)


def test_scale_of_a_task_does_not_matter() -> None:
    plain, scaled = excess_mtl(1.0, eps=1e-12), excess_mtl(1.0, eps=1e-12)
    factors = torch.tensor([[1.0], [100.0], [0.1]], dtype=torch.float64)
    for step in range(4):
        rows = jacobian(3, 6, seed=step)
        one, other = plain.step(rows).weights, scaled.step(factors * rows).weights
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_many_steps_do_not_overflow() -> None:
    balancer = excess_mtl(1e4)
    for step in range(5):
        weights = balancer.step(jacobian(3, 4, seed=step)).weights
    assert bool(torch.isfinite(weights).all())
    assert float(weights.sum()) == pytest.approx(1)


def test_zero_gradients_change_nothing_for_their_task() -> None:
    balancer = excess_mtl(1.0)
    rows = jacobian(3, 5)
    rows[1] = 0
    for _ in range(3):
        weights = balancer.step(rows).weights
    log_weight, first, seen, squares = state_of(balancer)
    assert seen.tolist() == [3.0, 0.0, 3.0]
    assert float(log_weight[1]) == float(first[1]) == float(squares[1].abs().sum()) == 0
    assert bool(torch.isfinite(weights).all())
    before = state_of(balancer)
    assert balancer.step(torch.zeros(3, 5).double()).direction.tolist() == [0.0] * 5
    assert all(torch.equal(one, other) for one, other in zip(before, state_of(balancer), strict=True))
    assert excess_mtl().step(torch.zeros(4, 2)).weights.tolist() == [0.25] * 4
    assert excess_mtl().step(torch.ones(1, 2)).weights.tolist() == [1.0]


def test_absent_tasks_keep_their_state() -> None:
    by_name, by_mask = excess_mtl(1.0), excess_mtl(1.0)
    for balancer in (by_name, by_mask):
        balancer.bind(["a", "b", "c"])
        balancer.step(jacobian(3, 5))
        balancer.step(jacobian(3, 5, seed=1))
    before = state_of(by_name)
    rows = jacobian(3, 5, seed=2)
    rows[1] = 0
    kept = [0, 2]
    named = by_name.combine(torch.ones(2).double(), rows=Rows((rows[kept],)), tasks=["a", "c"]).weights
    present = torch.tensor([True, False, True])
    masked = by_mask.combine(torch.ones(3).double(), rows=Rows((rows,)), active=present).weights
    torch.testing.assert_close(masked[kept], named, **CLOSE)
    assert float(named.sum()) == pytest.approx(1)
    for old, one, other in zip(before, state_of(by_name), state_of(by_mask), strict=True):
        assert torch.equal(old[1], one[1])
        assert torch.equal(one, other)
    assert state_of(by_name)[2].tolist() == [3.0, 2.0, 3.0]


def test_memory_moves_loads_and_refuses_other_sizes() -> None:
    balancer = excess_mtl(1.0)
    balancer.step(jacobian(2, 5).float())
    assert link_of(balancer).squares.rows.dtype == torch.float32  # as the gradients
    balancer.double()
    assert link_of(balancer).squares.rows.dtype == torch.float64
    with pytest.raises(BalanceError, match="5 shared parameters, found 6"):
        balancer.step(jacobian(2, 6))
    fresh = excess_mtl(1.0)
    fresh.bind(["task 0", "task 1"])
    fresh.load_state_dict(balancer.state_dict())
    assert torch.equal(fresh.step(jacobian(2, 5, seed=1)).weights, balancer.step(jacobian(2, 5, seed=1)).weights)
    balancer.reset()
    balancer.step(jacobian(2, 6))


def test_bad_arguments_are_named() -> None:
    for wrong in ({"step_size": 0.0}, {"eps": 0.0}, {"warmup": -1}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            excess_mtl(**wrong)
    assert repr(excess_mtl(0.1)) == "chain(excess_mtl(0.1))"
