"""Log-scalarisation."""

from __future__ import annotations

import pytest
import torch

from taskloom.balance.base import chain
from taskloom.balance.flow import Flow, Signals
from taskloom.balance.reduce.mean import mean
from taskloom.balance.scale.fixed import scale_by
from taskloom.balance.scale.log_scalarisation import log_losses, log_scalarisation
from taskloom.errors import BalanceError

LOSSES = torch.tensor([0.5, 4.0, 2.0], dtype=torch.float64)


def test_weights_are_inverse_losses() -> None:
    assert log_scalarisation().weights(None, LOSSES).tolist() == [2.0, 0.25, 0.5]
    assert log_scalarisation([1.0, 2.0, 4.0]).weights(None, LOSSES).tolist() == [2.0, 0.5, 2.0]
    assert log_scalarisation().weights(None, LOSSES[:1]).tolist() == [2.0]


def test_weights_are_the_gradient_of_the_sum_of_logarithms() -> None:
    losses = LOSSES.clone().requires_grad_()
    (3.0 * losses[0].log() + losses[1].log() + losses[2].log()).backward()
    balancer = log_scalarisation([3.0, 1.0, 1.0])
    torch.testing.assert_close(balancer.weights(None, LOSSES), losses.grad)
    (link,) = balancer
    value = link.value(Flow.start(Signals(("a", "b", "c"), LOSSES)))
    torch.testing.assert_close(value, 3 * LOSSES[0].log() + LOSSES[1].log() + LOSSES[2].log())


def test_names_follow_the_tasks() -> None:
    balancer = log_scalarisation({"b": 2.0, "a": 1.0, "c": 4.0})
    balancer.bind(["a", "b", "c"])
    assert balancer.combine(LOSSES).weights.tolist() == [2.0, 0.5, 2.0]
    assert balancer.combine(LOSSES[1:], tasks=["b", "c"]).weights.tolist() == [0.5, 2.0]


def test_the_unit_of_a_loss_does_not_matter() -> None:
    """Whether a loss is measured in metres or millimetres, its weighted gradient is the same."""
    scaled = chain(scale_by([1000.0, 1.0, 1.0]), log_losses())
    torch.testing.assert_close(scaled.weights(None, LOSSES), log_scalarisation().weights(None, LOSSES))


def test_it_can_come_before_a_reducer() -> None:
    assert chain(log_losses(), mean()).weights(None, LOSSES[:2]).tolist() == [1.0, 0.125]


@pytest.mark.parametrize("bad", [0.0, -1.0], ids=["zero", "negative"])
def test_losses_without_a_logarithm_are_refused(bad: float) -> None:
    with pytest.raises(BalanceError, match=r"needs losses > 0, found \{'task 1': .*\}\. Add an offset"):
        log_scalarisation().weights(None, torch.tensor([1.0, bad]))


def test_an_absent_task_has_no_loss() -> None:
    found = log_scalarisation().combine(torch.tensor([2.0, 0.0]), active=torch.tensor([True, False]))
    assert found.weights.tolist() == [0.5, 0.0]


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match=r"preference of task 'b' is 0\.0; expected positive"):
        log_scalarisation({"a": 1.0, "b": 0.0})
    with pytest.raises(BalanceError, match="preference of task 0 is nan"):
        log_scalarisation([float("nan")])
    with pytest.raises(BalanceError, match="no task 'hieght'"):
        log_scalarisation({"hieght": 1.0}).bind(["height"])
    with pytest.raises(BalanceError, match="2 numbers for 3 tasks"):
        log_scalarisation([1.0, 2.0]).bind(["a", "b", "c"])


def test_reads_as_a_recipe() -> None:
    assert repr(log_scalarisation()) == "chain(log_losses())"
    assert repr(log_scalarisation([1.0, 2.0])) == "chain(log_losses([1.0, 2.0]))"
