"""FAMO: weights, updates of the logits against torch's Adam, absent tasks, state."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from taskloom.balance.base import Balancer, chain
from taskloom.balance.scale.famo import EvenProgress, even_progress, famo
from taskloom.balance.scale.fixed import scale_by
from taskloom.errors import BalanceError

NAMES = ["a", "b", "c"]
GENERATOR = torch.Generator().manual_seed(0)
PATH = torch.rand(12, 3, generator=GENERATOR, dtype=torch.float64) + 0.5
AFTER = PATH * (0.5 + 0.5 * torch.rand(12, 3, generator=GENERATOR, dtype=torch.float64))


def bound(**settings: object) -> Balancer:
    balancer = famo(**settings)
    balancer.bind(NAMES)
    return balancer


def link(balancer: Balancer) -> EvenProgress:
    found = [one for one in balancer if isinstance(one, EvenProgress)]
    return found[0]


def walk(balancer: Balancer, start: int = 0, stop: int = 12) -> list[Tensor]:
    weights = []
    for before, after in zip(PATH[start:stop], AFTER[start:stop], strict=True):
        weights.append(balancer.combine(before).weights)
        balancer.observe(after)
    return weights


@pytest.mark.parametrize("decay", [0.0, 1e-2])
def test_the_published_algorithm(decay: float) -> None:
    """Logits of ``torch.optim.Adam`` on the gradient of the paper, weights of autograd on its loss."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.025, weight_decay=decay)
    balancer = bound(decay=decay)
    for before, after, found in zip(PATH, AFTER, walk(copy.deepcopy(balancer)), strict=True):
        free = before.clone().requires_grad_()
        shares = logits.softmax(0)
        scale = (shares / (free + 1e-8)).sum().detach()
        (weights,) = torch.autograd.grad(((free + 1e-8).log() * shares / scale).sum(), free)
        torch.testing.assert_close(found, weights)
        torch.testing.assert_close(found.sum().item(), 1.0)
        delta = (before + 1e-8).log() - (after + 1e-8).log()
        logits.grad = torch.autograd.grad(logits.softmax(0), logits, grad_outputs=delta)[0]
        adam.step()
    walk(balancer)
    torch.testing.assert_close(link(balancer).logits, logits.detach())


def test_a_task_that_fell_fast_loses_weight() -> None:
    balancer = bound()
    first = balancer.combine(torch.ones(3)).weights
    balancer.observe(torch.tensor([0.5, 1.0, 1.0]))
    assert balancer.combine(torch.ones(3)).weights[0] < first[0]


def test_the_unit_of_a_loss_does_not_matter() -> None:
    factors = torch.tensor([1e3, 1.0, 1e-2], dtype=torch.float64)
    plain, scaled = bound(), bound()
    walk(plain)
    for before, after in zip(PATH, AFTER, strict=True):
        scaled.combine(factors * before)
        scaled.observe(factors * after)
    torch.testing.assert_close(link(scaled).logits, link(plain).logits, rtol=1e-4, atol=1e-6)


def test_links_before_it_may_rescale_the_losses() -> None:
    """The losses after the step are scaled as those before it were."""
    factors = [2.0, 1.0, 0.5]
    balancer, plain = chain(scale_by(factors), even_progress()), bound()
    balancer.bind(NAMES)
    walk(balancer)
    for before, after in zip(PATH, AFTER, strict=True):
        plain.combine(before * torch.tensor(factors))
        plain.observe(after * torch.tensor(factors))
    torch.testing.assert_close(link(balancer).logits, link(plain).logits)


def test_without_decay_the_gradients_of_the_logits_sum_to_zero() -> None:
    balancer = bound(decay=0.0)
    walk(balancer)
    assert abs(float(link(balancer).first_moment.sum())) < 1e-15


def test_reuse_next_takes_the_losses_of_the_next_step() -> None:
    told, reusing = bound(), bound(reuse_next=True)
    for before, after in pairwise(PATH):
        weights = told.combine(before).weights
        torch.testing.assert_close(reusing.combine(before).weights, weights)
        told.observe(after)
        reusing.observe(after)  # is not listened to
    reusing.combine(PATH[-1])
    torch.testing.assert_close(link(told).logits, link(reusing).logits)
    assert (told.observes, reusing.observes) == (True, False)


def test_a_known_minimum() -> None:
    balancer = bound(minimum={"a": 0.0, "b": -2.0, "c": 1.0})
    weights = balancer.combine(torch.tensor([1.0, 0.0, 3.0], dtype=torch.float64)).weights
    inverse = torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(weights, inverse / inverse.sum())
    balancer.check(NAMES, torch.tensor([1.0, -1.9, 1.1]))
    with pytest.raises(BalanceError, match=r"found \{'c': -?0\.0.*famo\(minimum=\.\.\.\)"):
        balancer.check(NAMES, torch.tensor([1.0, -1.9, 1.0]))
    with pytest.raises(BalanceError, match="needs losses > 0"):
        famo().weights(None, torch.tensor([1.0, 0.0]))


def test_one_task() -> None:
    balancer = famo()
    balancer.bind(["a"])
    for _ in range(3):
        assert balancer.combine(torch.tensor([3.0])).weights.tolist() == [1.0]
        balancer.observe(torch.tensor([1.0]))
    assert link(balancer).logits.tolist() == [0.0]


# -- absent tasks -------------------------------------------------------------------------------------------------


def test_absent_tasks_keep_logits_and_moments() -> None:
    balancer = bound()
    walk(balancer, 0, 3)
    others = copy.deepcopy(balancer)
    before = {name: value.clone() for name, value in link(balancer).state_dict().items()}
    weights = balancer.combine(PATH[3, [0, 2]], tasks=["a", "c"]).weights
    assert float(weights.sum()) == pytest.approx(1.0)
    balancer.observe(AFTER[3])
    masked = PATH[3] * torch.tensor([1.0, 0.0, 1.0])
    others.combine(masked, active=torch.tensor([True, False, True]))
    others.observe(masked)
    for name in ("logits", "first_moment", "second_moment", "updates", "log_before"):
        after = link(balancer).get_buffer(name)
        assert after[1] == before[name][1], name
        assert bool((after[[0, 2]] != before[name][[0, 2]]).all()), name
    assert link(balancer).updates.tolist() == [4, 3, 4]
    assert link(others).updates.tolist() == [4, 3, 4]


def test_it_is_told_once_per_step() -> None:
    balancer = bound()
    balancer.observe(AFTER[0])  # no step was made
    assert link(balancer).updates.tolist() == [0, 0, 0]
    balancer.combine(PATH[0])
    balancer.observe(AFTER[0])
    balancer.observe(AFTER[0])
    assert link(balancer).updates.tolist() == [1, 1, 1]
    famo().observe(torch.ones(2))  # knows no tasks yet


def test_losses_that_say_nothing_leave_their_logit() -> None:
    balancer = bound()
    balancer.combine(PATH[0])
    balancer.observe(torch.tensor([torch.nan, -1.0, 0.5]))
    assert link(balancer).updates.tolist() == [0, 0, 1]
    assert bool(torch.isfinite(link(balancer).logits).all())
    balancer.combine(torch.tensor([1.0, torch.nan, 1.0]))
    balancer.observe(AFTER[0])
    assert link(balancer).updates.tolist() == [0, 0, 1]
    with pytest.raises(BalanceError, match=r"after the step, found the shape \(2,\)"):
        balancer.observe(torch.ones(2))


def test_nothing_is_there() -> None:
    balancer = bound()
    found = balancer.combine(torch.zeros(3), active=torch.zeros(3, dtype=torch.bool))
    balancer.observe(torch.ones(3))
    assert found.weights.tolist() == [0.0] * 3
    assert link(balancer).updates.tolist() == [0.0] * 3


# -- state and arguments ------------------------------------------------------------------------------------------


def test_saved_between_step_and_look_it_goes_on() -> None:
    balancer = bound()
    walk(balancer, 0, 5)
    balancer.combine(PATH[5])
    other = bound()
    other.load_state_dict(copy.deepcopy(balancer.state_dict()))
    for one in (balancer, other):
        one.observe(AFTER[5])
    for one, two in zip(walk(balancer, 6), walk(other, 6), strict=True):
        assert torch.equal(one, two)
    balancer.reset()
    for one, two in zip(walk(balancer), walk(bound()), strict=True):
        assert torch.equal(one, two)


def test_no_graph_is_kept() -> None:
    balancer = bound()
    losses = PATH[0].clone().requires_grad_()
    balancer.combine(losses)
    balancer.observe(2 * losses)
    assert not any(value.requires_grad for value in balancer.state_dict().values())
    assert not list(balancer.parameters())


def test_max_norm() -> None:
    balancer = famo(max_norm=1.0)
    direction = balancer.direction(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(direction, torch.tensor([0.6, 0.8]))  # (1.5, 2) has norm 2.5
    assert balancer.needs_gramian
    assert not famo().needs_gramian
    assert balancer.head_gradient == "weighted"
    assert balancer.observes


def test_arguments_are_checked() -> None:
    with pytest.raises(BalanceError, match="lr must be a positive number"):
        famo(lr=0.0)
    with pytest.raises(BalanceError, match="decay must be a number >= 0"):
        famo(decay=-1.0)
    with pytest.raises(BalanceError, match=r"famo\(\): minimum"):
        famo(minimum=float("nan"))
    with pytest.raises(BalanceError, match="max_norm must be a positive number"):
        famo(max_norm=0.0)


def test_reads_as_a_recipe() -> None:
    assert repr(famo()) == "chain(even_progress(lr=0.025, decay=0.001))"
    recipe = "chain(even_progress(lr=0.025, decay=0.001, reuse_next=True), sum_(), clip(1))"
    assert repr(famo(max_norm=1.0, reuse_next=True)) == recipe
