"""Group DRO."""

from __future__ import annotations

import pytest
import torch

from taskloom.balance.base import Balancer, chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import sum_
from taskloom.balance.scale.group_dro import MultiplicativeAscent, group_dro, multiplicative_ascent
from taskloom.errors import BalanceError

LOSSES = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)


def logits(balancer: Balancer) -> torch.Tensor:
    link = next(iter(balancer))
    assert isinstance(link, MultiplicativeAscent)
    return link.logits


def test_weights_are_multiplied_step_by_step() -> None:
    balancer, q = group_dro(eta=0.3), torch.full((3,), 1 / 3, dtype=torch.float64)
    for step in range(5):
        losses = LOSSES.roll(step)
        q = q * torch.exp(0.3 * losses)
        q = q / q.sum()
        torch.testing.assert_close(balancer.weights(None, losses), q)


def test_a_common_shift_of_the_losses_changes_nothing() -> None:
    plain, shifted = group_dro(eta=1.0), group_dro(eta=1.0)
    for _ in range(3):
        torch.testing.assert_close(plain.weights(None, LOSSES), shifted.weights(None, LOSSES + 7.0))


def test_divisors_and_offsets() -> None:
    balancer = group_dro(eta=1.0, divisors=[2.0, 1.0], offsets=[1.0, 0.0])
    q = torch.tensor([1.0, 2.0], dtype=torch.float64).softmax(0)
    torch.testing.assert_close(balancer.weights(None, torch.tensor([3.0, 2.0]).double()), q / torch.tensor([2.0, 1.0]))


def test_large_steps_do_not_overflow() -> None:
    balancer = group_dro(eta=100.0)
    for _ in range(20):
        weights = balancer.weights(None, 1e3 * LOSSES)
    assert weights.tolist() == [0.0, 1.0, 0.0]


def test_absent_tasks_keep_their_memory_and_their_share() -> None:
    balancer = group_dro(eta=1.0)
    balancer.bind(["a", "b", "c"])
    balancer.combine(LOSSES)
    before = logits(balancer).clone()
    weights = balancer.combine(torch.tensor([2.0, 4.0]).double(), tasks=["a", "c"]).weights
    assert logits(balancer)[1] == before[1]
    torch.testing.assert_close(weights, (before + torch.tensor([2.0, 0.0, 4.0])).softmax(0)[[0, 2]])
    before = logits(balancer).clone()
    balancer.combine(torch.tensor([0.0, 1.0, 0.0]), active=torch.tensor([False, True, False]))
    assert torch.equal(logits(balancer)[[0, 2]], before[[0, 2]])
    assert logits(balancer)[1] == before[1] + 1
    # a batch of one task: its weight is its share, not 1, as in algorithm 1 of the paper
    assert 0 < float(balancer.combine(torch.tensor([1.0]), tasks=["b"]).weights) < 1


def test_nothing_is_learned_from_a_step_with_a_loss_that_is_not_finite() -> None:
    balancer = group_dro()
    balancer.bind(["a", "b"])
    balancer.combine(torch.tensor([1.0, torch.nan]))
    assert logits(balancer).tolist() == [0.0, 0.0]


def test_a_step_that_raises_changes_nothing() -> None:
    balancer = group_dro()
    balancer.bind(["a", "b"])
    with pytest.raises(BalanceError, match=r"losses of the tasks \['b'\] are not finite"):
        balancer.weights(None, torch.tensor([1.0, torch.inf]))
    assert logits(balancer).tolist() == [0.0, 0.0]


def test_it_follows_tasks_not_combinations() -> None:
    balancer = chain(sum_(), multiplicative_ascent())
    balancer.bind(["a", "b"])
    with pytest.raises(BalanceError, match="1 rows for 2 tasks"):
        balancer.combine(torch.ones(2))
    with pytest.raises(BalanceError, match=r"call balancer\.bind\(tasks\)"):
        group_dro().combine(torch.ones(2))
    before = chain(multiplicative_ascent(1.0), pcgrad())  # before the links that combine tasks it is welcome
    assert before.weights(torch.eye(2), torch.tensor([1.0, 2.0])).tolist() == pytest.approx(
        [0.26894, 0.73106], abs=1e-5
    )


@pytest.mark.parametrize("eta", [0.0, -1.0, float("nan")], ids=["zero", "negative", "nan"])
def test_the_step_size_is_checked(eta: float) -> None:
    with pytest.raises(BalanceError, match="eta must be a positive number"):
        group_dro(eta)


def test_reads_as_a_recipe() -> None:
    assert repr(group_dro(0.1)) == "chain(multiplicative_ascent(0.1))"
