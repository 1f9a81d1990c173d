"""Worst-task minimisation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.flow import Flow, Signals
from taskloom.balance.scale.worst_task import FavourWorst, worst_task
from taskloom.errors import BalanceError

LOSSES = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
VECTORS = st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=1, max_size=5)


def value(balancer: Balancer, losses: Tensor, active: Tensor | None = None) -> Tensor:
    (link,) = balancer
    assert isinstance(link, FavourWorst)
    return link.value(Flow.start(Signals(tuple(str(k) for k in range(len(losses))), losses, active=active)))


def test_hard() -> None:
    assert worst_task().weights(None, LOSSES).tolist() == [0.0, 1.0, 0.0]
    assert float(value(worst_task(), LOSSES)) == 3.0


def test_soft() -> None:
    shares = [math.exp(loss / 2) for loss in LOSSES.tolist()]
    expected = [share / sum(shares) for share in shares]
    torch.testing.assert_close(worst_task("soft", temperature=2.0).weights(None, LOSSES).tolist(), expected)


def test_ties() -> None:
    losses = torch.tensor([1.0, 2.0, 2.0])
    assert worst_task().weights(None, losses).tolist() == [0.0, 1.0, 0.0]
    assert worst_task(tie="average").weights(None, losses).tolist() == [0.0, 0.5, 0.5]
    assert worst_task().weights(None, torch.zeros(3)).tolist() == [1.0, 0.0, 0.0]


def test_one_task() -> None:
    for form in ("hard", "soft"):
        assert worst_task(form).weights(None, LOSSES[:1]).tolist() == [1.0]


@settings(max_examples=25, deadline=None)
@given(VECTORS, st.floats(0.1, 10), st.floats(-3, 3))
def test_bounds_gradient_and_shift(losses: list[float], temperature: float, shift: float) -> None:
    given_losses = torch.tensor(losses, dtype=torch.float64)
    soft = worst_task("soft", temperature=temperature)
    weights = soft.weights(None, given_losses)
    top = float(given_losses.max())
    assert top - temperature * math.log(len(losses)) - 1e-9 <= float(value(soft, given_losses)) <= top + 1e-9
    torch.testing.assert_close(soft.weights(None, given_losses + shift), weights)
    torch.testing.assert_close(weights.sum().item(), 1.0)
    free = given_losses.clone().requires_grad_()
    objective = temperature * ((free / temperature).logsumexp(0) - math.log(len(losses)))
    torch.testing.assert_close(value(soft, given_losses), objective.detach())
    torch.testing.assert_close(weights, torch.autograd.grad(objective, free)[0])


def test_limits_of_the_temperature() -> None:
    cold, hot = worst_task("soft", temperature=1e-3), worst_task("soft", temperature=1e9)
    torch.testing.assert_close(cold.weights(None, LOSSES), worst_task().weights(None, LOSSES))
    torch.testing.assert_close(hot.weights(None, LOSSES), torch.full((3,), 1 / 3, dtype=torch.float64))


def test_divisors_and_offsets_make_losses_comparable() -> None:
    balancer = worst_task(divisors={"b": 10.0, "a": 1.0}, offsets={"a": 0.5, "b": 0.0})
    balancer.bind(["a", "b"])
    losses = torch.tensor([1.0, 4.0])  # regrets 0.5 and 0.4
    assert balancer.weights(None, losses).tolist() == [1.0, 0.0]
    assert balancer.weights(None, torch.tensor([1.0, 6.0])).tolist() == pytest.approx([0.0, 0.1])
    soft = worst_task("soft", divisors=[2.0, 1.0], offsets=[1.0, 0.0])
    free = torch.tensor([3.0, 2.0], dtype=torch.float64, requires_grad=True)
    objective = ((free - torch.tensor([1.0, 0.0])) / torch.tensor([2.0, 1.0])).logsumexp(0)
    torch.testing.assert_close(soft.weights(None, free.detach()), torch.autograd.grad(objective, free)[0])


def test_an_absent_task_is_not_the_worst() -> None:
    losses, active = torch.tensor([-1.0, 0.0, -2.0]), torch.tensor([True, False, True])
    for form, expected in (("hard", [1.0, 0.0, 0.0]), ("soft", [1 / (1 + math.exp(-1)), 0.0, 1 / (1 + math.e)])):
        balancer = worst_task(form)
        assert balancer.combine(losses, active=active).weights.tolist() == pytest.approx(expected)
        assert float(value(balancer, losses, active)) == pytest.approx(float(value(balancer, losses[[0, 2]])))


def test_nothing_is_there() -> None:
    for form in ("hard", "soft"):
        found = worst_task(form).combine(torch.zeros(2), active=torch.zeros(2, dtype=torch.bool))
        assert found.weights.tolist() == [0.0, 0.0]


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match="form must be"):
        worst_task("medium")
    with pytest.raises(BalanceError, match="tie must be"):
        worst_task(tie="last")
    for temperature in (0.0, -1.0, float("inf")):
        with pytest.raises(BalanceError, match="temperature must be a positive number"):
            worst_task("soft", temperature=temperature)
    with pytest.raises(BalanceError, match=r"divisors of task 1 is 0\.0"):
        worst_task(divisors=[1.0, 0.0])
    with pytest.raises(BalanceError, match=r"worst_task\(\): offsets"):
        worst_task(offsets=[float("inf")])


def test_reads_as_a_recipe() -> None:
    assert repr(worst_task()) == "chain(favour_worst())"
    assert repr(worst_task("soft", temperature=0.5)) == "chain(favour_worst('soft', temperature=0.5))"
