"""DB-MTL: against its definition with and without memory, its invariances, heads, and steps that lack tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer, Need, chain
from taskloom.balance.flow import Rows
from taskloom.balance.rows.db_mtl import EqualTrackedNorms, db_mtl, equal_norms
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def problem(n_tasks: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch_stream(seed, "db_mtl")
    rows = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
    return rows, torch.rand(n_tasks, generator=generator, dtype=torch.float64) + 0.1


def link_of(balancer: Balancer) -> EqualTrackedNorms:
    link = list(balancer)[1]
    assert isinstance(link, EqualTrackedNorms)
    return link


def equalised(rows: Tensor) -> Tensor:
    norms = rows.norm(dim=1, keepdim=True)
    return (norms.max() * rows / norms).sum(0)


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize(("beta", "sigma"), [(0.9, 0.0), (0.9, 0.5), (0.2, 1.0)])
def test_follows_the_definition(beta: float, sigma: float, correct: bool) -> None:
    balancer = db_mtl(beta, beta_sigma=sigma, bias_correction=correct)
    means, remaining = torch.zeros(4, 6, dtype=torch.float64), 1.0
    for step in range(1, 6):
        rows, losses = problem(4, 6, seed=step)
        keep = beta / step**sigma
        means = keep * means + (1 - keep) * rows / (losses + 1e-8).unsqueeze(1)
        remaining *= keep
        expected = equalised(means / (1 - remaining) if correct else means)
        torch.testing.assert_close(balancer.direction(rows, losses), expected, **CLOSE)


def test_without_memory_the_gramian_is_enough() -> None:
    rows, losses = problem(4, 6)
    balancer = db_mtl(beta=0.0)
    assert balancer.needs == Need.GRAMIAN | Need.LOSSES
    logarithmic = rows / (losses + 1e-8).unsqueeze(1)
    torch.testing.assert_close(balancer.direction(rows, losses), equalised(logarithmic), **CLOSE)
    norms = rows.norm(dim=1)
    expected = (norms / losses).max() / norms
    torch.testing.assert_close(balancer.weights(rows @ rows.T, losses), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        db_mtl(0.9, bias_correction=True).direction(rows, losses), equalised(logarithmic), **CLOSE
    )


def test_scales_of_losses_do_not_matter() -> None:
    rows, losses = problem(3, 5)
    factors = torch.tensor([1.0, 1e3, 1e-2], dtype=torch.float64)
    for beta in (0.0, 0.9):
        plain = db_mtl(beta, log_eps=0.0).direction(rows, losses)
        scaled = db_mtl(beta, log_eps=0.0).direction(factors.unsqueeze(1) * rows, factors * losses)
        torch.testing.assert_close(plain, scaled, **CLOSE)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_heads_get_the_gradient_of_the_logarithm(beta: float) -> None:
    rows, losses = problem(3, 5)
    balancer = db_mtl(beta)
    balancer.bind(["a", "b", "c"])
    assert balancer.head_gradient == "unweighted"
    found = balancer.combine(losses, rows @ rows.T, rows=Rows((rows,)))
    torch.testing.assert_close(found.head_weights, 1 / (losses + 1e-8), **CLOSE)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_zero_gradients(beta: float) -> None:
    rows, losses = problem(3, 5)
    rows[1] = 0
    kept = [0, 2]
    torch.testing.assert_close(
        db_mtl(beta).direction(rows, losses), db_mtl(beta).direction(rows[kept], losses[kept]), **CLOSE
    )
    assert db_mtl(beta).direction(torch.zeros(3, 5), torch.ones(3)).tolist() == [0.0] * 5
    assert db_mtl(0.0).weights(torch.zeros(4, 4), torch.ones(4)).tolist() == pytest.approx([0.25] * 4)


def test_a_step_without_gradients_is_not_remembered() -> None:
    balancer = db_mtl()
    balancer.direction(*problem(3, 5))
    link = link_of(balancer)
    before = [state.clone() for state in (link.seen, link.remaining, link.means.rows)]
    assert balancer.direction(torch.zeros(3, 5).double(), torch.ones(3).double()).tolist() == [0.0] * 5
    for old, new in zip(before, (link.seen, link.remaining, link.means.rows), strict=True):
        assert torch.equal(old, new)


def test_absent_tasks_keep_their_state_and_take_no_part() -> None:
    by_name, by_mask = db_mtl(bias_correction=True), db_mtl(bias_correction=True)
    for balancer in (by_name, by_mask):
        balancer.bind(["a", "b", "c"])
        balancer.direction(*problem(3, 5))
    rows, losses = problem(3, 5, seed=1)
    rows[1], losses[1] = 0, 0
    kept = [0, 2]
    before = link_of(by_name).means.rows[1].clone()
    named = by_name.combine(losses[kept], rows=Rows((rows[kept],)), tasks=["a", "c"]).direction
    masked = by_mask.combine(losses, rows=Rows((rows,)), active=torch.tensor([True, False, True])).direction
    assert named is not None
    torch.testing.assert_close(masked, named, **CLOSE)
    for balancer in (by_name, by_mask):
        assert link_of(balancer).seen.tolist() == [2.0, 1.0, 2.0]
        assert torch.equal(link_of(balancer).means.rows[1], before)


def test_equal_norms_is_a_link_of_its_own() -> None:
    rows, _ = problem(3, 5)
    torch.testing.assert_close(chain(equal_norms()).direction(rows), equalised(rows), **CLOSE)


def test_bad_arguments_are_named() -> None:
    for wrong in ({"beta": 1.0}, {"beta_sigma": -1.0}, {"log_eps": -1.0}, {"norm_eps": -1.0}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            db_mtl(**wrong)
    for beta in (0.0, 0.9):
        with pytest.raises(BalanceError, match=r"\['task 1'\] are not positive"):
            db_mtl(beta).direction(torch.eye(2), torch.tensor([1.0, 0.0]))
    assert repr(db_mtl(0.0)) == "chain(log_losses(), equal_norms())"
    assert repr(db_mtl()) == "chain(log_losses(), equal_norms(beta=0.9))"
