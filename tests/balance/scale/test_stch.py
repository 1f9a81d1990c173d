"""Smooth Tchebycheff scalarisation, plain and for deep networks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taskloom.balance.base import Balancer
from taskloom.balance.flow import Flow, Signals
from taskloom.balance.scale.log_scalarisation import log_scalarisation
from taskloom.balance.scale.stch import SmoothLogMaximum, SmoothMaximum, stch, stch_mtl
from taskloom.errors import BalanceError

LOSSES = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
NAMES = ["a", "b", "c"]


def value(balancer: Balancer, losses: Tensor) -> Tensor:
    (link,) = balancer
    assert isinstance(link, (SmoothMaximum, SmoothLogMaximum))
    return link.value(Flow.start(Signals(tuple(NAMES[: len(losses)]), losses)))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-4, 4, allow_subnormal=False), min_size=3, max_size=3),
    st.lists(st.floats(0.1, 1), min_size=3, max_size=3),
    st.floats(0.1, 5),
    st.floats(-2, 0),
)
def test_gradient_bounds_and_preference(losses: list[float], shares: list[float], mu: float, ideal: float) -> None:
    preference = torch.tensor(shares, dtype=torch.float64)
    preference = preference / preference.sum()
    free = torch.tensor(losses, dtype=torch.float64, requires_grad=True)
    heights = preference * (free - ideal)
    objective = mu * (heights / mu).logsumexp(0)
    balancer = stch(mu, preference=preference.tolist(), ideal=ideal)
    weights = balancer.weights(None, free.detach())
    torch.testing.assert_close(weights, torch.autograd.grad(objective, free)[0])
    found = float(value(balancer, free.detach()))
    assert found == pytest.approx(float(objective.detach()))
    highest = float(heights.detach().max())
    assert highest - 1e-9 <= found <= highest + mu * math.log(3) + 1e-9
    assert float((weights / preference).sum()) == pytest.approx(1.0)


def test_limits_of_mu() -> None:
    preference = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    wide = stch(1e9, preference=preference.tolist()).weights(None, LOSSES)
    torch.testing.assert_close(wide, preference / 3)  # along lambda
    narrow = stch(1e-3, preference=preference.tolist()).weights(None, LOSSES)
    torch.testing.assert_close(narrow, torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64))


def test_shifts_of_losses_and_ideal_cancel() -> None:
    shifted = stch(0.5, ideal={"a": 1.0, "b": 5.0, "c": -3.0})
    shifted.bind(NAMES)
    shift = torch.tensor([1.0, 5.0, -3.0], dtype=torch.float64)
    torch.testing.assert_close(shifted.weights(None, LOSSES + shift), stch(0.5).weights(None, LOSSES))


def test_one_task_and_absent_tasks() -> None:
    assert stch().weights(None, LOSSES[:1]).tolist() == [1.0]
    active = torch.tensor([True, False, True])
    masked = stch(0.5).combine(LOSSES * active, active=active).weights
    torch.testing.assert_close(masked[[0, 2]], stch(0.5).combine(LOSSES[[0, 2]]).weights)
    given_ones = stch(0.5, preference={"a": 0.2, "b": 0.3, "c": 0.5})
    given_ones.bind(NAMES)
    fewer = given_ones.combine(LOSSES[[0, 2]], tasks=["a", "c"]).weights
    heights = torch.tensor([0.2, 0.5], dtype=torch.float64) * LOSSES[[0, 2]]
    torch.testing.assert_close(fewer, torch.tensor([0.2, 0.5], dtype=torch.float64) * (heights / 0.5).softmax(0))


def test_arguments_are_checked() -> None:
    for make in (stch, stch_mtl):
        with pytest.raises(BalanceError, match="mu must be a positive number"):
            make(mu=0.0)
    with pytest.raises(BalanceError, match=r"preference sums to 1\.5"):
        stch(preference=[0.5, 1.0])
    with pytest.raises(BalanceError, match=r"preference of task 0 is -0\.5"):
        stch(preference=[-0.5, 1.5])
    with pytest.raises(BalanceError, match="nadir of task 0 is 0"):
        stch_mtl(nadir=[0.0, 1.0])
    for epochs in (-1, 1.5, True):
        with pytest.raises(BalanceError, match="warmup_epochs must be a whole number"):
            stch_mtl(warmup_epochs=epochs)


# -- for deep networks --------------------------------------------------------------------------------------------


def bound(**arguments: object) -> Balancer:
    balancer = stch_mtl(**arguments)
    balancer.bind(NAMES)
    return balancer


def nadir(balancer: Balancer) -> list[float]:
    (link,) = balancer
    assert isinstance(link, SmoothLogMaximum)
    return link.nadir.tolist()


def relative(losses: Tensor, worst: list[float], mu: float = 1.0) -> Tensor:
    heights = (losses / torch.tensor(worst, dtype=torch.float64)).log() / mu
    return len(losses) * heights.softmax(0) / losses


def test_a_given_nadir_needs_no_warm_up() -> None:
    balancer = bound(mu=0.5, nadir={"c": 4.0, "b": 1.0, "a": 2.0})
    weights = balancer.combine(LOSSES).weights
    torch.testing.assert_close(weights, relative(LOSSES, [2.0, 1.0, 4.0], 0.5))
    free = LOSSES.clone().requires_grad_()
    heights = (free / torch.tensor([2.0, 1.0, 4.0])).log()
    objective = 3 * 0.5 * ((heights - heights.max().detach()) / 0.5).logsumexp(0)
    torch.testing.assert_close(weights, torch.autograd.grad(objective, free)[0])
    torch.testing.assert_close(value(balancer, LOSSES), objective.detach())
    balancer.end_epoch()
    assert nadir(balancer) == [2.0, 1.0, 4.0]
    balancer.reset()
    assert nadir(balancer) == [2.0, 1.0, 4.0]


def test_the_unit_of_a_loss_does_not_matter() -> None:
    factors = torch.tensor([1e3, 1.0, 1e-3], dtype=torch.float64)
    plain, scaled = bound(warmup_epochs=0), bound(warmup_epochs=0)
    plain.combine(LOSSES)
    scaled.combine(factors * LOSSES)
    for balancer in (plain, scaled):
        balancer.end_epoch()
    new = LOSSES.flip(0)
    torch.testing.assert_close(factors * scaled.combine(factors * new).weights, plain.combine(new).weights)


def test_warm_up_nadir_and_maximum() -> None:
    balancer, logs = bound(warmup_epochs=2), log_scalarisation()
    for epoch in range(3):
        for losses in (LOSSES, LOSSES * (1 + epoch)):
            torch.testing.assert_close(balancer.combine(losses).weights, logs.combine(losses).weights)
        assert all(math.isnan(one) for one in nadir(balancer))
        balancer.end_epoch()
    worst = [2 * loss for loss in LOSSES.tolist()]  # the mean of l and 3 l, in the epoch after the warm-up
    assert nadir(balancer) == pytest.approx(worst)
    for _ in range(2):
        torch.testing.assert_close(balancer.combine(LOSSES.flip(0)).weights, relative(LOSSES.flip(0), worst))
        balancer.end_epoch()
    assert nadir(balancer) == pytest.approx(worst)


def test_a_task_that_comes_late_gets_its_nadir_late() -> None:
    balancer = bound(warmup_epochs=0)
    balancer.combine(LOSSES[:2], tasks=["a", "b"])
    balancer.combine(torch.tensor([1.0, 3.0, 0.0]).double(), active=torch.tensor([True, True, False]))
    balancer.end_epoch()
    assert nadir(balancer)[:2] == [1.0, 3.0]
    with_it = balancer.combine(LOSSES).weights
    torch.testing.assert_close(with_it, 1 / LOSSES)
    without = balancer.combine(LOSSES[1:2], tasks=["b"]).weights
    torch.testing.assert_close(without, relative(LOSSES[1:2], [3.0]))
    balancer.end_epoch()
    assert nadir(balancer) == [1.0, 3.0, 2.0]
    torch.testing.assert_close(balancer.combine(LOSSES).weights, relative(LOSSES, [1.0, 3.0, 2.0]))


def test_saved_in_the_warm_up_it_goes_on() -> None:
    balancer, other = bound(warmup_epochs=1), bound(warmup_epochs=1)
    for scale in (1.0, 2.0):
        balancer.combine(scale * LOSSES)
        balancer.end_epoch()
        balancer.combine(LOSSES)
    other.load_state_dict(copy.deepcopy(balancer.state_dict()))
    assert torch.equal(balancer.combine(LOSSES).weights, other.combine(LOSSES).weights)
    assert nadir(other) == nadir(balancer) == pytest.approx((1.5 * LOSSES).tolist())
    balancer.reset()
    torch.testing.assert_close(balancer.combine(LOSSES).weights, 1 / LOSSES)
    assert all(math.isnan(one) for one in nadir(balancer))


def test_losses_that_are_not_finite_enter_no_mean() -> None:
    balancer = bound(warmup_epochs=0)
    balancer.combine(LOSSES)
    balancer.combine(torch.tensor([1.0, torch.inf, 1.0]))
    balancer.end_epoch()
    assert nadir(balancer) == LOSSES.tolist()


@pytest.mark.parametrize("bad", [0.0, -1.0], ids=["zero", "negative"])
def test_losses_without_a_logarithm_are_refused(bad: float) -> None:
    with pytest.raises(BalanceError, match=r"stch_mtl\(\) takes logarithms .*'b'.* Add an offset"):
        bound().weights(None, torch.tensor([1.0, bad, 1.0]))
    stch().weights(None, torch.tensor([1.0, bad]))  # the plain form takes any


def test_end_of_an_epoch_before_the_first_step_is_harmless() -> None:
    stch_mtl().end_epoch()
    balancer = bound(warmup_epochs=0)
    balancer.end_epoch()
    torch.testing.assert_close(balancer.combine(LOSSES).weights, 1 / LOSSES)


def test_reads_as_a_recipe() -> None:
    assert repr(stch(0.5)) == "chain(smooth_maximum(mu=0.5))"
    assert repr(stch_mtl()) == "chain(smooth_log_maximum(mu=1, warmup_epochs=4))"
    assert repr(stch_mtl(nadir=1.0)) == "chain(smooth_log_maximum(mu=1, nadir=...))"
