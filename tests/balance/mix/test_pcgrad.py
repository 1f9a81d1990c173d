"""PCGrad: against its definition in parameter space, against TorchJD, and its documented properties."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import _project, pcgrad, project_conflicts
from taskloom.balance.reduce.sum import sum_
from taskloom.errors import BalanceError
from taskloom.solvers import surgery


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


def by_definition(rows: Tensor, orders: list[list[int]]) -> Tensor:
    """Algorithm 1 of the paper, on the gradients themselves."""
    total = torch.zeros_like(rows[0])
    for i, order in enumerate(orders):
        x = rows[i].clone()
        for j in order:
            inner = x @ rows[j]
            if j != i and inner < 0:
                x = x - inner / (rows[j] @ rows[j]) * rows[j]
        total += x
    return total


@pytest.mark.parametrize(("n_tasks", "size"), [(2, 3), (3, 2), (5, 4), (10, 3), (40, 10)])
def test_follows_the_definition_in_the_drawn_order(n_tasks: int, size: int) -> None:
    rows = jacobian(n_tasks, size)
    balancer = pcgrad(seed=7)
    draws = balancer.draw(n_tasks)
    assert draws is not None
    expected = by_definition(rows, draws.argsort(dim=1).tolist())
    torch.testing.assert_close(balancer.direction(rows, draws=draws), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(
    n_tasks=st.integers(1, 8),
    size=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    exponents=st.lists(st.integers(-6, 6), min_size=8, max_size=8),
    duplicate=st.booleans(),
)
def test_definition_holds_for_awkward_gradients(
    n_tasks: int, size: int, seed: int, exponents: list[int], duplicate: bool
) -> None:
    rows = jacobian(n_tasks, size, seed) * 10.0 ** torch.tensor(exponents[:n_tasks], dtype=torch.float64).unsqueeze(1)
    if duplicate:
        rows[-1] = -rows[0]  # exact conflict (or a single task)
    orders = [list(range(n_tasks))] * n_tasks
    expected = by_definition(rows, orders)
    found = pcgrad(order="ascending").direction(rows)
    scale = float(rows.norm(dim=1).max())
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * scale)


def test_torchjd_agrees_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    for n_tasks, size in [(2, 4), (4, 3), (6, 20)]:
        rows = jacobian(n_tasks, size, seed=n_tasks)
        draws = pcgrad().draw(n_tasks)
        assert draws is not None
        orders = iter(draws.argsort(dim=1))
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randperm", lambda n, orders=orders: next(orders))
            expected = aggregation.PCGrad()(rows)
        torch.testing.assert_close(pcgrad().direction(rows, draws=draws), expected, rtol=1e-10, atol=1e-10)


def test_without_conflict_it_is_the_sum() -> None:
    rows = jacobian(4, 6).abs()
    assert torch.equal(pcgrad().weights(rows @ rows.T), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(pcgrad("mean").weights(rows @ rows.T), torch.full((4,), 0.25, dtype=torch.float64))


def test_two_tasks_need_no_order_and_end_without_conflict() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 2.0]], dtype=torch.float64)
    first, second = pcgrad(seed=1).direction(rows), pcgrad(order="ascending").direction(rows)
    assert torch.equal(first, second)
    assert float((rows @ first).min()) >= 0


def test_opposite_gradients_cancel() -> None:
    rows = torch.tensor([[1.0, 2.0], [-2.0, -4.0]], dtype=torch.float64)
    torch.testing.assert_close(pcgrad().direction(rows), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_zero_gradient_is_never_projected_on() -> None:
    rows = torch.tensor([[1.0, 1.0], [0.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    kept = rows[[0, 2]]
    torch.testing.assert_close(pcgrad(order="ascending").direction(rows), pcgrad(order="ascending").direction(kept))


def test_orders_are_random_and_reproducible() -> None:
    rows = jacobian(5, 3, seed=3)
    balancer = pcgrad(seed=0)
    path = [balancer.direction(rows) for _ in range(5)]
    again = pcgrad(seed=0)
    assert all(torch.equal(one, again.direction(rows)) for one in path)
    assert any(not torch.equal(one, path[0]) for one in path[1:])
    assert not torch.equal(pcgrad(seed=1).direction(rows), path[0])


def test_each_task_has_an_order_of_its_own() -> None:
    draws = pcgrad().draw(6)
    assert draws is not None
    orders = {tuple(order) for order in draws.argsort(dim=1).tolist()}
    assert len(orders) > 1
    assert all(sorted(order) == list(range(6)) for order in orders)


def test_all_orders_occur() -> None:
    balancer = pcgrad()
    seen = set()
    for _ in range(80):
        draws = balancer.draw(3)
        assert draws is not None
        seen.add(tuple(draws[0].argsort().tolist()))
    assert seen == set(itertools.permutations(range(3)))


def test_a_generator_can_be_given() -> None:
    first = pcgrad(generator=torch.Generator().manual_seed(5)).draw(3)
    second = pcgrad(generator=torch.Generator().manual_seed(5)).draw(3)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_links_compose() -> None:
    rows = jacobian(3, 4)
    by_hand = chain(project_conflicts("ascending"), sum_())
    assert torch.equal(by_hand.direction(rows), pcgrad(order="ascending").direction(rows))
    assert repr(pcgrad()) == "chain(project_conflicts(), sum_())"
    assert repr(pcgrad("mean", order="ascending")) == "chain(project_conflicts('ascending'), mean())"


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="reduction must be 'sum' or 'mean'"):
        pcgrad("max")
    with pytest.raises(BalanceError, match="order must be"):
        project_conflicts("descending")


@pytest.mark.parametrize("n_tasks", [3, 8])
def test_one_gramian_and_stacked_ones_are_projected_alike(n_tasks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(n_tasks)
    rows = torch.randn(n_tasks, 4, generator=generator, dtype=torch.float64)
    rows[1] = 0
    gramian, keys = rows @ rows.T, torch.rand(n_tasks, n_tasks, generator=generator)
    solved = torch.from_numpy(surgery.without_conflicts(gramian.numpy(), keys.double().numpy()))
    monkeypatch.setattr(surgery, "IS_COMPILED", False)
    torch.testing.assert_close(_project(gramian, keys), solved, rtol=1e-12, atol=1e-12)
    stacked = torch.func.vmap(_project)(torch.stack([gramian, 2 * gramian]), torch.stack([keys, keys]))
    torch.testing.assert_close(stacked, torch.stack([solved, solved]), rtol=1e-12, atol=1e-12)
