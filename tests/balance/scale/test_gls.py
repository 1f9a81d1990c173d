"""The geometric mean of the losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Flow, Signals
from taskloom.balance.reduce.sum import sum_
from taskloom.balance.scale.gls import GeometricMean, geometric_mean, gls
from taskloom.balance.scale.log_scalarisation import log_scalarisation
from taskloom.engine import combine
from taskloom.engine._step import StepLosses
from taskloom.errors import BalanceError

LOSSES = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)


def value(balancer: Balancer, losses: Tensor, tasks: str = "abcde") -> Tensor:
    (link,) = balancer
    assert isinstance(link, GeometricMean)
    return link.value(Flow.start(Signals(tuple(tasks[: len(losses)]), losses)))


def test_closed_form() -> None:
    assert gls().weights(None, LOSSES).tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 3])
    assert float(value(gls(), LOSSES)) == pytest.approx(2.0)
    assert gls().weights(None, LOSSES[:1]).tolist() == [1.0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5))
def test_gradient_direction_and_sum(numbers: list[float]) -> None:
    losses = torch.tensor(numbers, dtype=torch.float64, requires_grad=True)
    objective = losses.prod() ** (1 / len(numbers))
    balancer = gls()
    weights = balancer.weights(None, losses.detach())
    torch.testing.assert_close(weights, torch.autograd.grad(objective, losses)[0])
    torch.testing.assert_close((weights * losses).sum().item(), objective.item())
    logs = log_scalarisation().weights(None, losses.detach())
    torch.testing.assert_close(weights / weights.norm(), logs / logs.norm())


def test_products_that_underflow_do_not() -> None:
    losses = torch.full((50,), 1e-6)
    assert float(losses.prod()) == 0
    assert gls().weights(None, losses).tolist() == pytest.approx([1 / 50] * 50, rel=1e-5)


def test_focus_multiplies_by_the_geometric_mean_of_a_part() -> None:
    balancer = gls(focus=["b", "c"])
    balancer.bind(["a", "b", "c"])
    free = LOSSES.clone().requires_grad_()
    objective = free.prod() ** (1 / 3) * (free[1] * free[2]) ** 0.5
    torch.testing.assert_close(value(balancer, LOSSES), objective.detach())
    torch.testing.assert_close(balancer.weights(None, LOSSES), torch.autograd.grad(objective, free)[0])
    without = balancer.combine(LOSSES[:1], tasks=["a"]).weights
    assert without.tolist() == [1.0]  # none of the focus is there
    masked = balancer.combine(torch.tensor([1.0, 0.0, 2.0]).double(), active=torch.tensor([True, False, True]))
    fewer = balancer.combine(LOSSES[[0, 2]], tasks=["a", "c"])
    torch.testing.assert_close(masked.weights[[0, 2]], fewer.weights)


@pytest.mark.parametrize("bad", [0.0, -1.0], ids=["zero", "negative"])
def test_losses_without_a_logarithm_are_refused(bad: float) -> None:
    with pytest.raises(BalanceError, match=r"gls\(\) takes logarithms .*'task 1'.* Add an offset"):
        gls().weights(None, torch.tensor([1.0, bad]))


def test_a_task_that_no_rank_has_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.ones((), requires_grad=True)
    loss, absent = 2 * weight, torch.zeros(())
    step = StepLosses(("a", "b"), [loss, None], torch.stack([loss, absent]), torch.tensor([True, False]))
    monkeypatch.setattr(combine, "gather", lambda losses, balancer: step)
    combine.balance({"a": loss}, gls(), shared=[weight]).backward()
    assert weight.grad is not None
    assert float(weight.grad) == 2.0


def test_nothing_is_there() -> None:
    found = gls().combine(torch.zeros(2), active=torch.zeros(2, dtype=torch.bool))
    assert found.weights.tolist() == [0.0, 0.0]


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match=r"'hieght', which is no task\. Did you mean 'height'"):
        gls(focus=["hieght"]).bind(["height"])
    for focus in ([], ["a", "a"]):
        with pytest.raises(BalanceError, match="distinct names"):
            gls(focus=focus)
    with pytest.raises(BalanceError, match="one row per task"):
        chain(sum_(), geometric_mean(["a"])).combine(torch.ones(2), tasks=["a", "b"])


def test_reads_as_a_recipe() -> None:
    assert repr(gls()) == "chain(geometric_mean())"
    assert repr(gls("a")) == "chain(geometric_mean(focus=['a']))"
