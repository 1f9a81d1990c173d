"""Dynamic weight average."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from taskloom.balance.base import Balancer
from taskloom.balance.scale.dwa import dwa
from taskloom.errors import BalanceError


def epoch(balancer: Balancer, *steps: list[float], **settings: object) -> list[float]:
    """Weights of the last step of an epoch."""
    for losses in steps:
        found = balancer.combine(torch.tensor(losses, dtype=torch.float64), **settings).weights
    balancer.end_epoch()
    return found.tolist()


def expected(*ratios: float, temperature: float = 2.0) -> list[float]:
    shares = [math.exp(ratio / temperature) for ratio in ratios]
    return [len(ratios) * share / sum(shares) for share in shares]


def bound(**settings: object) -> Balancer:
    balancer = dwa(**settings)
    balancer.bind(["a", "b", "c"])
    return balancer


def test_two_epochs_of_equal_weights_then_ratios_of_means() -> None:
    balancer = bound()
    assert epoch(balancer, [1.0, 2.0, 4.0], [3.0, 2.0, 4.0]) == pytest.approx([1.0] * 3)  # means 2, 2, 4
    assert epoch(balancer, [1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) == pytest.approx([1.0] * 3)  # means 1, 2, 1
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx(expected(0.5, 1.0, 0.25))
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx(expected(1.0, 0.5, 1.0))


def test_the_unit_of_a_loss_does_not_matter() -> None:
    path = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.5
    scales = torch.tensor([1e3, 1.0, 1e-3], dtype=torch.float64)
    plain, scaled = bound(), bound()
    for losses in path:
        torch.testing.assert_close(epoch(plain, losses.tolist()), epoch(scaled, (scales * losses).tolist()))


def test_temperature_and_sum() -> None:
    balancer = bound(temperature=0.1)
    for losses in ([1.0, 1.0, 1.0], [0.5, 1.0, 2.0]):
        epoch(balancer, losses)
    weights = epoch(balancer, [1.0, 1.0, 1.0])
    assert weights == pytest.approx(expected(0.5, 1.0, 2.0, temperature=0.1))
    assert sum(weights) == pytest.approx(3.0)


def test_ratios_are_bounded_and_a_loss_of_zero_counts_as_no_change() -> None:
    balancer = bound()
    epoch(balancer, [0.0, 1.0, 1e-6])
    epoch(balancer, [1.0, 0.0, 1.0])
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx(expected(1.0, 0.0, 20.0))


def test_windows_replace_epochs() -> None:
    balancer = bound(window=2)
    path = [[1.0, 2.0, 4.0], [3.0, 2.0, 4.0], [1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]
    for losses in path:
        assert balancer.combine(torch.tensor(losses)).weights.tolist() == pytest.approx([1.0] * 3)
    balancer.end_epoch()  # means nothing here
    for _ in range(2):
        weights = balancer.combine(torch.ones(3)).weights
        assert weights.tolist() == pytest.approx(expected(0.5, 1.0, 0.25))
    assert balancer.combine(torch.ones(3)).weights.tolist() == pytest.approx(expected(1.0, 0.5, 1.0))


def test_an_epoch_that_lacks_a_task_leaves_its_means() -> None:
    balancer = bound()
    epoch(balancer, [2.0, 1.0, 1.0])
    epoch(balancer, [1.0, 1.0, 1.0])
    epoch(balancer, [1.0, 1.0], tasks=["b", "c"])
    epoch(balancer, [0.0, 1.0, 1.0], active=torch.tensor([False, True, True]))
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx(expected(0.5, 1.0, 1.0))


def test_the_mean_is_over_the_steps_that_had_the_task() -> None:
    balancer = bound()
    epoch(balancer, [2.0, 1.0, 1.0])
    balancer.combine(torch.tensor([1.0, 1.0, 1.0]))
    balancer.combine(torch.tensor([1.0, 1.0]), tasks=["b", "c"])
    balancer.combine(torch.full((3,), torch.nan))  # nothing to learn from
    balancer.end_epoch()
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx(expected(0.5, 1.0, 1.0))


def test_weights_of_present_tasks_sum_to_their_number() -> None:
    balancer = bound()
    for losses in ([1.0, 1.0, 1.0], [0.5, 1.0, 2.0]):
        epoch(balancer, losses)
    assert epoch(balancer, [1.0, 1.0], tasks=["a", "c"]) == pytest.approx(expected(0.5, 2.0))


def test_saved_in_mid_epoch_it_goes_on() -> None:
    balancer, other = bound(), bound()
    epoch(balancer, [2.0, 1.0, 1.0])
    balancer.combine(torch.tensor([1.0, 5.0, 1.0]))
    other.load_state_dict(copy.deepcopy(balancer.state_dict()))
    for one in (balancer, other):
        epoch(one, [3.0, 1.0, 1.0])
    assert epoch(balancer, [1.0, 1.0, 1.0]) == epoch(other, [1.0, 1.0, 1.0]) != [1.0] * 3
    balancer.reset()
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx([1.0] * 3)
    assert epoch(balancer, [2.0, 1.0, 1.0]) == pytest.approx([1.0] * 3)


def test_the_end_of_an_epoch_before_the_first_step_is_harmless() -> None:
    dwa().end_epoch()
    balancer = bound()
    balancer.end_epoch()
    assert epoch(balancer, [1.0, 1.0, 1.0]) == pytest.approx([1.0] * 3)


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match="temperature must be a positive number"):
        dwa(0.0)
    for window in (0, 1.5, True):
        with pytest.raises(BalanceError, match="window must be a whole number of steps"):
            dwa(window=window)


def test_reads_as_a_recipe() -> None:
    assert repr(dwa()) == "chain(loss_trends(temperature=2))"
    assert repr(dwa(window=25)) == "chain(loss_trends(temperature=2, window=25))"
