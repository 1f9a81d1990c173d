"""Smoothed weights (CR-MOGM)."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from taskloom.balance._link import RowRule
from taskloom.balance.base import Balancer, chain
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.famo import famo
from taskloom.balance.scale.fixed import fixed
from taskloom.balance.scale.log_scalarisation import log_scalarisation
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.balance.wrap.smoothed import smoothed
from taskloom.errors import BalanceError

LOSSES = torch.tensor([[1.0, 2.0], [2.0, 0.5], [0.25, 4.0]], dtype=torch.float64)


def weights(balancer: Balancer, losses: Tensor, **settings: object) -> list[float]:
    return balancer.combine(losses, **settings).weights.tolist()


def test_the_average_of_the_weights() -> None:
    balancer, average = smoothed(0.9, log_scalarisation()), None
    for losses in LOSSES:
        average = 1 / losses if average is None else 0.9 * average + 0.1 / losses
        torch.testing.assert_close(balancer.weights(None, losses), average)


def test_an_alpha_of_zero_is_the_balancer_itself() -> None:
    balancer, inner = smoothed(0.0, log_scalarisation()), log_scalarisation()
    for losses in LOSSES:
        assert torch.equal(balancer.weights(None, losses), inner.weights(None, losses))


def test_an_alpha_of_one_keeps_the_first_weights() -> None:
    balancer = smoothed(1.0, log_scalarisation())
    assert [balancer.weights(None, losses).tolist() for losses in LOSSES] == [[1.0, 0.5]] * 3


def test_alpha_may_follow_the_step() -> None:
    balancer = smoothed(lambda step: 1 - 1 / (step + 1), log_scalarisation())  # the plain mean
    for losses in LOSSES:
        found = balancer.weights(None, losses)
    torch.testing.assert_close(found, (1 / LOSSES).mean(0))
    with pytest.raises(BalanceError, match=r"between 0 and 1, found 2"):
        smoothed(lambda step: 2.0, equal()).weights(torch.eye(2))


def test_absent_tasks_keep_their_average() -> None:
    balancer = smoothed(0.5, log_scalarisation())
    balancer.bind(["a", "b", "c"])
    ones = torch.ones(3, dtype=torch.float64)
    assert weights(balancer, ones[:2], tasks=["a", "b"]) == [1.0, 1.0]
    assert weights(balancer, 0.5 * ones[:2], tasks=["b", "c"]) == [1.5, 2.0]  # "c" is there for the first time
    masked = torch.tensor([0.0, 0.5, 0.5]).double()
    assert weights(balancer, masked, active=torch.tensor([False, True, True])) == [0.0, 1.75, 2.0]
    assert weights(balancer, ones) == [1.0, 1.375, 1.5]


def test_weights_that_are_not_finite_enter_no_average() -> None:
    balancer = smoothed(0.5, log_scalarisation())
    balancer.bind(["a", "b"])
    weights(balancer, torch.ones(2))
    weights(balancer, torch.tensor([1.0, torch.nan]))
    assert weights(balancer, torch.ones(2)) == [1.0, 1.0]


def test_parameters_inside_learn_as_without_it() -> None:
    balancer, inner = smoothed(0.5, uncertainty(GAUSSIAN)), uncertainty(GAUSSIAN)
    gradients = []
    for one in (balancer, inner):
        one.bind(["a", "b"])
        assert len(one.parameter_groups()) == 1
        found = one.combine(LOSSES[0])
        (parameter,) = one.parameters()
        gradients += torch.autograd.grad((found.weights * LOSSES[0]).sum() + found.penalty, parameter)
    assert torch.equal(*gradients)


def test_what_is_inside_is_told_everything() -> None:
    balancer = smoothed(0.5, famo())
    balancer.bind(["a", "b"])
    assert balancer.observes
    balancer.combine(torch.ones(2))
    balancer.observe(torch.tensor([0.5, 1.0]))
    assert weights(balancer, torch.ones(2))[0] < 0.5
    with pytest.raises(BalanceError, match="needs losses > 0"):
        balancer.weights(None, torch.tensor([1.0, -1.0]))


def test_saved_in_mid_sequence_it_goes_on() -> None:
    balancer, other = smoothed(0.9, pcgrad()), smoothed(0.9, pcgrad())
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)
    balancer.weights(gramian)
    other.bind(balancer.tasks)
    other.load_state_dict(copy.deepcopy(balancer.state_dict()))
    assert torch.equal(balancer.weights(torch.eye(2)), other.weights(torch.eye(2)))
    balancer.reset()
    assert balancer.weights(torch.eye(2)).tolist() == [1.0, 1.0]


def test_what_it_cannot_wrap_is_named() -> None:
    class Median(RowRule):
        def combine(self, rows: Tensor) -> Tensor:
            return rows.median(0).values

    with pytest.raises(BalanceError, match="makes a direction"):
        smoothed(0.9, chain(Median())).direction(torch.eye(2))
    with pytest.raises(BalanceError, match="does not end in one row; add a reducer"):
        smoothed(0.9, chain(project_conflicts()))
    with pytest.raises(BalanceError, match="expected a balancer"):
        smoothed(0.9, project_conflicts())
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(BalanceError, match="alpha must be a number between 0 and 1"):
            smoothed(alpha, equal())


def test_heads_are_those_of_the_balancer_inside() -> None:
    assert smoothed(0.9, pcgrad()).head_gradient == "unweighted"
    assert smoothed(0.9, fixed([1.0, 2.0])).head_gradient == "weighted"


def _alpha(step: int) -> float:
    return 0.5


def test_reads_as_a_recipe() -> None:
    assert repr(smoothed(0.9, equal())) == "chain(smoothed(0.9, chain(sum_())))"
    assert repr(smoothed(_alpha, equal())) == "chain(smoothed(_alpha, chain(sum_())))"
