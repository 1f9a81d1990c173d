"""Plain weights for the first steps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from taskloom.balance._link import RowRule
from taskloom.balance.base import Balancer, chain
from taskloom.balance.flow import Need
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.scale.dwa import dwa
from taskloom.balance.scale.famo import EvenProgress, famo
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.scale.gls import gls
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.balance.wrap.every import every
from taskloom.balance.wrap.warmup import warm_up
from taskloom.errors import BalanceError

OPPOSED = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)


def path(balancer: Balancer, n_steps: int) -> list[list[float]]:
    return [balancer.weights(OPPOSED, torch.ones(2)).tolist() for _ in range(n_steps)]


def test_plain_weights_then_the_balancer() -> None:
    assert path(warm_up(2, pcgrad()), 4) == [[1.0, 1.0]] * 2 + [[2.0, 1.25]] * 2
    assert path(warm_up(1, pcgrad(), before=fixed([1.0, 3.0])), 2) == [[1.0, 3.0], [2.0, 1.25]]
    assert path(warm_up(0, pcgrad()), 1) == [[2.0, 1.25]]
    assert path(warm_up(1, fixed([1.0, 3.0])), 2) == [[1.0, 1.0], [1.0, 3.0]]  # scales alone: the weighted sum


def test_no_gradients_are_measured_in_the_warm_up() -> None:
    balancer = warm_up(2, pcgrad())
    assert [balancer.needs_at(step) for step in range(3)] == [Need.NOTHING, Need.NOTHING, Need.GRAMIAN]
    assert balancer.needs_gramian
    assert balancer.combine(torch.zeros(2), draws=balancer.draw(2), step=0).weights.tolist() == [1.0, 1.0]
    with pytest.raises(BalanceError, match="needs the Gramian"):
        balancer.combine(torch.zeros(2), draws=balancer.draw(2), step=2)


def test_the_balancer_counts_from_its_own_first_step() -> None:
    balancer = warm_up(3, every(2, pcgrad()))
    assert [bool(balancer.needs_at(step)) for step in range(6)] == [False, False, False, True, False, True]
    assert path(balancer, 5) == [[1.0, 1.0]] * 3 + [[2.0, 1.25]] * 2


def test_its_memory_begins_after_the_warm_up() -> None:
    balancer = warm_up(2, famo())
    balancer.bind(["a", "b"])
    link = next(module for module in balancer.modules() if isinstance(module, EvenProgress))
    for step in range(4):
        balancer.combine(torch.ones(2), step=step)
        balancer.observe(torch.tensor([0.5, 1.0]))
        assert link.updates.tolist() == [max(0, step - 1)] * 2
    assert balancer.observes
    assert warm_up(1, dwa()).remembers


def test_parameters_are_known_from_the_start() -> None:
    balancer = warm_up(1, uncertainty(GAUSSIAN))
    with pytest.raises(BalanceError, match="does not know its tasks yet"):
        balancer.parameter_groups()
    balancer.bind(["a", "b"])
    assert len(balancer.parameter_groups()) == 1
    first, second = (balancer.combine(torch.ones(2), step=step) for step in range(2))
    assert not first.weights.requires_grad
    assert second.weights.requires_grad


def test_a_rule_that_makes_directions_may_follow() -> None:
    class First(RowRule):
        def combine(self, rows: Tensor) -> Tensor:
            return rows[0]

    balancer, jacobian = warm_up(1, chain(First())), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert [balancer.direction(jacobian).tolist() for _ in range(2)] == [[1.0, 2.0], [1.0, 0.0]]


def test_saved_in_the_warm_up_it_goes_on() -> None:
    balancer, other = warm_up(2, pcgrad()), warm_up(2, pcgrad())
    path(balancer, 1)
    other.load_state_dict(copy.deepcopy(balancer.state_dict()))
    assert path(balancer, 3) == path(other, 3)
    balancer.reset()
    assert path(balancer, 1) == [[1.0, 1.0]]


def test_losses_that_the_balancer_cannot_use_raise_at_once() -> None:
    with pytest.raises(BalanceError, match=r"gls\(\) takes logarithms"):
        warm_up(5, gls()).weights(None, torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("steps", [-1, 1.5, True], ids=["negative", "fraction", "bool"])
def test_steps_are_checked(steps: int) -> None:
    with pytest.raises(BalanceError, match="steps must be a whole number >= 0"):
        warm_up(steps, pcgrad())


def test_what_it_cannot_run_is_named() -> None:
    with pytest.raises(BalanceError, match="does not end in one row"):
        warm_up(1, chain(project_conflicts()))


def test_reads_as_a_recipe() -> None:
    recipe = "chain(warm_up(4, chain(project_conflicts(), sum_()), before=chain(sum_())))"
    assert repr(warm_up(4, pcgrad())) == recipe
