"""One scale for all methods."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom.balance._link import RowRule
from taskloom.balance.base import chain
from taskloom.balance.flow import Need
from taskloom.balance.mix.pcgrad import pcgrad, project_conflicts
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import equal, sum_
from taskloom.balance.scale.fixed import fixed, scale_by
from taskloom.balance.wrap.rescale import rescale
from taskloom.errors import BalanceError

JACOBIAN = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)


class First(RowRule):
    def combine(self, rows: Tensor) -> Tensor:
        return rows[0]


def test_weights_that_sum_to_the_number_of_tasks() -> None:
    assert chain(mean(), rescale("sum")).weights(torch.eye(4)).tolist() == [1.0] * 4
    assert chain(fixed([1.0, 3.0]), sum_(), rescale("sum")).weights(torch.eye(2)).tolist() == [0.5, 1.5]
    assert rescale("sum").needs == Need.NOTHING


def test_the_norm_of_the_mean_gradient() -> None:
    balancer = chain(scale_by([100.0, 7.0]), sum_(), rescale("mean_norm"))
    direction = balancer.direction(JACOBIAN)
    assert float(direction.norm()) == pytest.approx(2.5)
    torch.testing.assert_close(direction / direction.norm(), torch.tensor([300.0, 28.0]).double() / 90784.0**0.5)
    torch.testing.assert_close(chain(First(), rescale("mean_norm")).direction(JACOBIAN).tolist(), [2.5, 0.0])
    torch.testing.assert_close(
        chain(pcgrad(), rescale("mean_norm")).direction(JACOBIAN), equal("mean").direction(JACOBIAN)
    )


def test_absent_tasks_do_not_count() -> None:
    active, gramian = torch.tensor([True, False]), torch.diag(torch.tensor([9.0, 0.0])).double()
    for to, expected in (("sum", [1.0, 0.0]), ("mean_norm", [1.0, 0.0])):
        found = chain(scale_by([5.0, 3.0]), sum_(), rescale(to)).combine(torch.zeros(2), gramian, active=active)
        assert found.weights.tolist() == pytest.approx(expected)


def test_a_zero_direction_stays_zero() -> None:
    for to in ("sum", "mean_norm"):
        assert chain(sum_(), rescale(to)).direction(torch.zeros(2, 3)).tolist() == [0.0] * 3
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert chain(sum_(), rescale("mean_norm")).direction(opposite).tolist() == [0.0, 0.0]


def test_it_wants_the_one_row_that_is_left() -> None:
    for to in ("sum", "mean_norm"):
        with pytest.raises(BalanceError, match="put it at the end, after a reducer"):
            chain(project_conflicts("ascending"), rescale(to), sum_()).direction(JACOBIAN)
    with pytest.raises(BalanceError, match="acts on the weights"):
        chain(First(), rescale("sum")).direction(JACOBIAN)
    with pytest.raises(BalanceError, match="expected 'sum' or 'mean_norm'"):
        rescale("norm")


def test_reads_as_a_recipe() -> None:
    assert repr(chain(sum_(), rescale("sum"))) == "chain(sum_(), rescale('sum'))"
