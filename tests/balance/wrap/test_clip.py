"""A bound on the length of the direction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom.balance._link import RowRule
from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.sum import sum_
from taskloom.balance.scale.fixed import scale_by
from taskloom.balance.scale.uncertainty import GAUSSIAN, log_variances
from taskloom.balance.wrap.clip import clip
from taskloom.errors import BalanceError

JACOBIAN = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)


class First(RowRule):
    def combine(self, rows: Tensor) -> Tensor:
        return rows[0]


def test_long_directions_are_shortened_and_short_ones_left() -> None:
    assert chain(sum_(), clip(1.0)).direction(JACOBIAN).tolist() == pytest.approx([0.6, 0.8])
    assert chain(sum_(), clip(5.0)).direction(JACOBIAN).tolist() == [3.0, 4.0]
    assert chain(pcgrad(), clip(1.0)).direction(1e6 * JACOBIAN).norm().item() == pytest.approx(1.0)


def test_a_zero_direction_stays_zero() -> None:
    assert chain(sum_(), clip(1.0)).direction(torch.zeros(2, 3)).tolist() == [0.0] * 3


def test_the_direction_of_a_rule_is_shortened() -> None:
    assert chain(First(), clip(1.0)).direction(JACOBIAN).tolist() == [1.0, 0.0]


def test_unweighted_heads_and_own_parameters_are_not_clipped() -> None:
    balancer = chain(scale_by([2.0, 1.0]), pcgrad(order="ascending"), clip(0.1))
    assert balancer.combine(torch.zeros(2).double(), JACOBIAN @ JACOBIAN.T).head_weights.tolist() == [2.0, 1.0]
    learned = chain(log_variances(GAUSSIAN), sum_(), clip(0.1))
    learned.bind(["a", "b"])
    found = learned.combine(torch.ones(2).double(), JACOBIAN @ JACOBIAN.T)
    (parameter,) = learned.parameters()
    (gradient,) = torch.autograd.grad(found.weights.sum() + found.penalty, parameter)
    assert gradient.tolist() == [0.0, 0.0]  # 1/2 - exp(-s) l / 2 at s = 0, l = 1, whatever comes later
    assert float(found.weights.detach().max()) < 0.1


def test_it_wants_the_one_row_that_is_left() -> None:
    with pytest.raises(BalanceError, match="put it at the end, after a reducer"):
        chain(project_conflicts("ascending"), clip(1.0), sum_()).direction(JACOBIAN)
    for bad in (0.0, -1.0, float("inf")):
        with pytest.raises(BalanceError, match="max_norm must be a positive number"):
            clip(bad)


def test_reads_as_a_recipe() -> None:
    assert repr(chain(sum_(), clip(1.0))) == "chain(sum_(), clip(1))"
