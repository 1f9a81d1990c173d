"""GradVac: against its definition in parameter space, against PCGrad, and what it remembers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer, chain
from taskloom.balance.mix.gradvac import Vaccinate, gradvac, vaccinate
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import sum_
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "gradvac"), dtype=torch.float64)


def by_definition(rows: Tensor, target: Tensor, orders: list[list[int]], beta: float) -> Tensor:
    """The paper's algorithm on the gradients themselves; changes ``target``."""
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        x = rows[i].clone()
        for j in order:
            if j == i or float(rows[j].norm()) == 0 or float(x.norm()) == 0:
                continue
            phi, goal = float(x @ rows[j] / x.norm() / rows[j].norm()), float(target[i, j])
            if phi < goal:
                across = math.sqrt(1 - goal**2)
                step = float(x.norm()) * (goal * math.sqrt(1 - phi**2) - phi * across) / float(rows[j].norm()) / across
                x = x + step * rows[j]
                torch.testing.assert_close(float(x @ rows[j] / x.norm() / rows[j].norm()), goal, rtol=1e-9, atol=1e-9)
            target[i, j] = (1 - beta) * goal + beta * phi
        total += x
    return total


def link_of(balancer: Balancer) -> Vaccinate:
    link = next(iter(balancer))
    assert isinstance(link, Vaccinate)
    return link


@pytest.mark.parametrize("beta", [0.0, 0.01, 0.5, 1.0])
def test_follows_the_definition_over_steps(beta: float) -> None:
    balancer, target = gradvac(beta, seed=3), torch.zeros(4, 4, dtype=torch.float64)
    for step in range(6):
        rows = jacobian(4, 6, seed=step)
        draws = balancer.draw(4)
        assert draws is not None
        expected = by_definition(rows, target, draws.argsort(dim=1).tolist(), beta)
        torch.testing.assert_close(balancer.direction(rows, draws=draws), expected, **CLOSE)
        torch.testing.assert_close(link_of(balancer).target, target, **CLOSE)
    assert float(target.abs().max()) <= 1


def test_without_memory_it_is_pcgrad() -> None:
    vaccine, surgery = gradvac(0.0), pcgrad()
    for step in range(4):
        rows = jacobian(5, 3, seed=step)
        draws = surgery.draw(5)
        torch.testing.assert_close(vaccine.direction(rows, draws=draws), surgery.direction(rows, draws=draws), **CLOSE)
    plain, mean = gradvac(0.0, order="ascending"), gradvac(0.0, reduction="mean", order="ascending")
    torch.testing.assert_close(mean.direction(rows), plain.direction(rows) / 5, **CLOSE)


def test_zero_gradients_turn_nothing_and_are_not_remembered() -> None:
    balancer = gradvac(0.5, order="ascending")
    rows = jacobian(3, 5)
    rows[1] = 0
    balancer.direction(rows)
    target = link_of(balancer).target
    assert target[1].tolist() == [0.0] * 3
    assert target[:, 1].tolist() == [0.0] * 3
    assert float(target[0, 2]) != 0
    kept = gradvac(0.5, order="ascending")
    kept.direction(rows[[0, 2]])
    torch.testing.assert_close(balancer.direction(rows), kept.direction(rows[[0, 2]]), **CLOSE)


def test_all_zero_gradients_change_nothing() -> None:
    balancer = gradvac(0.5, order="ascending")
    balancer.direction(jacobian(3, 5))
    before = link_of(balancer).target.clone()
    assert balancer.direction(torch.zeros(3, 5)).tolist() == [0.0] * 5
    assert torch.equal(link_of(balancer).target, before)


def test_opposite_gradients_cancel_and_stay_finite() -> None:
    rows = jacobian(1, 4)
    rows = torch.cat([rows, -2 * rows, jacobian(1, 4, seed=1)])
    balancer = gradvac(1.0, order="ascending")
    for _ in range(5):  # the target becomes exactly -1 for the first two
        assert bool(torch.isfinite(balancer.direction(rows)).all())
    torch.testing.assert_close(gradvac().direction(rows[:2]), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-14)
    alike = gradvac(1.0, order="ascending")
    for _ in range(3):  # and exactly 1 here
        torch.testing.assert_close(alike.direction(rows[:1].expand(2, -1)), 2 * rows[0], **CLOSE)
    assert bool(torch.isfinite(alike.direction(rows[:2])).all())


def test_steps_with_fewer_tasks_leave_the_others_as_they_are() -> None:
    balancer = gradvac(0.5, order="ascending")
    balancer.bind(["a", "b", "c"])
    rows = jacobian(3, 5)
    balancer.direction(rows)
    before = link_of(balancer).target.clone()
    gramian = rows[[0, 2]] @ rows[[0, 2]].T
    fewer = balancer.combine(torch.zeros(2).double(), gramian, tasks=["a", "c"]).weights
    after = link_of(balancer).target
    changed = (after != before).nonzero().tolist()
    assert changed == [[0, 2], [2, 0]]
    balancer.reset()
    balancer.direction(rows)
    masked = rows.clone()
    masked[1] = 0
    present = torch.tensor([True, False, True])
    again = balancer.combine(torch.zeros(3).double(), masked @ masked.T, active=present).weights
    torch.testing.assert_close(again[[0, 2]], fewer, **CLOSE)
    torch.testing.assert_close(link_of(balancer).target, after, **CLOSE)


def test_torchjd_agrees_over_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    theirs, ours = aggregation.GradVac(beta=0.3), gradvac(0.3)
    for step in range(5):
        rows = jacobian(4, 6, seed=step)
        draws = ours.draw(4)
        assert draws is not None
        orders = iter([torch.cat([row[:i], row[i + 1 :]]).argsort() for i, row in enumerate(draws)])  # of the others
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randperm", lambda n, *, orders=orders, **_: next(orders))
            expected = theirs(rows)
        torch.testing.assert_close(ours.direction(rows, draws=draws), expected, rtol=1e-6, atol=1e-8)


def test_composes_and_names_bad_arguments() -> None:
    rows = jacobian(3, 4)
    assert torch.equal(
        chain(vaccinate(0.2, "ascending"), sum_()).direction(rows), gradvac(0.2, order="ascending").direction(rows)
    )
    assert repr(gradvac()) == "chain(vaccinate(0.01), sum_())"
    assert repr(vaccinate(0.5, "ascending")) == "vaccinate(0.5, 'ascending')"
    for wrong in ({"beta": -0.1}, {"beta": 1.5}, {"order": "down"}, {"reduction": "max"}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            gradvac(**wrong)
