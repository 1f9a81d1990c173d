"""every(k): gradients are looked at on every k-th step only."""

from __future__ import annotations

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor

from taskloom.balance._link import RowRule
from taskloom.balance.base import chain
from taskloom.balance.flow import Need
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.mgda import mgda, mgda_ub
from taskloom.balance.scale.fixed import fixed, scale_by
from taskloom.balance.scale.uncertainty import GAUSSIAN, uncertainty
from taskloom.balance.wrap.every import every
from taskloom.engine.combine import balance
from taskloom.errors import BalanceError
from taskloom.nn.fork import gates

OPPOSED = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)


def test_weights_are_kept_between_looks() -> None:
    balancer = every(3, pcgrad())
    path = [balancer.weights(gramian).tolist() for gramian in (OPPOSED, torch.eye(2), torch.eye(2), torch.eye(2))]
    assert path == [[2.0, 1.25], [2.0, 1.25], [2.0, 1.25], [1.0, 1.0]]


def test_needs_nothing_between_looks() -> None:
    balancer = every(2, pcgrad())
    assert [balancer.needs_at(step) for step in range(3)] == [Need.GRAMIAN, Need.NOTHING, Need.GRAMIAN]
    assert balancer.needs_gramian
    balancer.bind(["a", "b"])
    balancer.combine(torch.zeros(2), OPPOSED, draws=balancer.draw(2), step=0)
    kept = balancer.combine(torch.zeros(2), None, draws=balancer.draw(2), step=1)
    assert kept.weights.tolist() == [2.0, 1.25]


def test_absent_tasks_keep_their_weight() -> None:
    balancer = every(2, pcgrad(order="ascending"))
    balancer.bind(["a", "b", "c"])
    gramian = torch.eye(3, dtype=torch.float64)
    gramian[:2, :2] = OPPOSED
    balancer.combine(torch.zeros(3), gramian, step=0)
    assert balancer.combine(torch.zeros(2), tasks=["b", "c"], step=1).weights.tolist() == [1.25, 1.0]
    balancer.combine(torch.zeros(2), torch.eye(2).double(), tasks=["b", "c"], step=2)
    assert balancer.combine(torch.zeros(3), step=3).weights.tolist() == [2.0, 1.0, 1.0]


def test_heads_keep_the_factors_of_links_inside() -> None:
    balancer = every(2, chain(scale_by([2.0, 1.0]), pcgrad(order="ascending")))
    balancer.bind(["a", "b"])
    for step, gramian in enumerate((OPPOSED, None)):
        found = balancer.combine(torch.zeros(2), gramian, step=step)
        assert found.head_weights.tolist() == [2.0, 1.0]
    assert every(2, fixed([1.0, 3.0])).weights(None, torch.ones(2)).tolist() == [1.0, 3.0]


def test_losses_that_the_balancer_is_not_defined_for_are_named_in_every_step() -> None:
    balancer = every(2, mgda("loss"))
    balancer.bind(["a", "b"])
    for losses in (torch.ones(2), torch.tensor([1.0, -1.0])):
        balancer.check(["a", "b"], torch.ones(2))
        with pytest.raises(BalanceError, match=r"mgda\('loss'\) divides by the losses, found \{'b': -1\.0\}"):
            balancer.weights(OPPOSED, torch.tensor([1.0, -1.0]))
        balancer.weights(OPPOSED, losses.abs())


def test_methods_that_look_at_features_go_on_doing_so() -> None:
    assert every(2, mgda_ub()).looks_at_features
    network, inputs = TwoHeads(), torch.eye(3, dtype=torch.float64)
    balancer, plain = every(2, mgda_ub()), mgda_ub()
    for step in range(3):
        with gates():
            balance(network.losses(inputs), balancer, shared=network).backward()
            expected = balancer.diagnostics.last_weights
            balance(network.losses(inputs), plain, shared=network)
        assert expected == plain.diagnostics.last_weights, step


def test_what_it_cannot_wrap_is_named() -> None:
    class Median(RowRule):
        def combine(self, rows: Tensor) -> Tensor:
            return rows.median(0).values

    with pytest.raises(BalanceError, match="makes a direction"):
        every(2, chain(Median()))
    with pytest.raises(BalanceError, match="learns at every step"):
        every(2, uncertainty(GAUSSIAN))
    with pytest.raises(BalanceError, match="whole number of steps"):
        every(0, pcgrad())


def test_reads_as_a_recipe() -> None:
    assert repr(every(4, pcgrad())) == "chain(every(4, chain(project_conflicts(), sum_())))"
