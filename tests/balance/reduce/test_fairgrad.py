"""FairGrad: the equation for many alpha, the methods at both ends, stationary points."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.reduce.fairgrad import fairgrad
from taskloom.balance.reduce.nash_mtl import nash_mtl
from taskloom.errors import BalanceError

ALPHAS = [0.5, 1.0, 2.0, 5.0, 10.0]


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 10])
def test_the_equation_holds(n_tasks: int, alpha: float) -> None:
    for scales in (torch.ones(n_tasks, 1), torch.logspace(-2, 2, n_tasks).unsqueeze(1)):
        rows = jacobian(n_tasks, n_tasks + 3) * scales.double()
        weights = fairgrad(alpha).weights(rows @ rows.T)
        progress = rows @ (weights @ rows)
        torch.testing.assert_close(progress * weights ** (1 / alpha), torch.ones_like(weights), rtol=1e-7, atol=1e-7)


def test_it_is_the_sum_for_0_and_nash_for_1() -> None:
    rows = jacobian(4, 6)
    gramian = rows @ rows.T
    assert fairgrad(0).weights(gramian).tolist() == [1.0] * 4
    assert torch.equal(fairgrad(1).weights(gramian), nash_mtl(None).weights(gramian))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_one_task_by_hand(alpha: float) -> None:
    expected = 9.0 ** (-alpha / (1 + alpha))
    assert float(fairgrad(alpha).weights(torch.tensor([[9.0]], dtype=torch.float64))) == pytest.approx(expected)


def test_the_direction_is_no_longer_than_allowed() -> None:
    rows = jacobian(4, 6) / 100
    free = fairgrad().direction(rows)
    torch.testing.assert_close(fairgrad(max_norm=0.01).direction(rows), 0.01 * free / free.norm())
    assert torch.equal(fairgrad(max_norm=0).direction(rows), free)


@pytest.mark.parametrize("alpha", [0.0, *ALPHAS])
def test_edge_cases(alpha: float) -> None:
    rows = jacobian(4, 6)
    rows[2] = 0
    weights, kept = fairgrad(alpha).weights(rows @ rows.T), rows[[0, 1, 3]]
    assert float(weights[2]) == (1 if alpha == 0 else 0)
    torch.testing.assert_close(weights[[0, 1, 3]], fairgrad(alpha).weights(kept @ kept.T))
    torch.testing.assert_close(
        fairgrad(alpha).weights(torch.zeros(4, 4)), torch.full((4,), 1.0 if alpha == 0 else 0.25)
    )
    equal = rows[:1].expand(3, -1)
    shared = fairgrad(alpha).weights(equal @ equal.T)
    torch.testing.assert_close(shared, shared[:1].expand(3))


@pytest.mark.parametrize("alpha", ALPHAS)
def test_stationary_points(alpha: float) -> None:
    for rows in (torch.tensor([[1.0, 2.0], [-2.0, -4.0]]), torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])):
        rows = rows.double()
        assert fairgrad(alpha, on_stationary="zero").weights(rows @ rows.T).tolist() == [0.0] * len(rows)
        weights = fairgrad(alpha).weights(rows @ rows.T)
        assert bool((weights > 0).all())
        assert bool(torch.isfinite(weights).all())
        assert float((weights @ rows).norm()) <= 1e-6 * float(weights.max())


def test_torchjd_agrees_where_its_solver_is_exact() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows = jacobian(3, 6) + 0.5
    for alpha in (1.0, 2.0):
        torch.testing.assert_close(
            fairgrad(alpha).direction(rows), aggregation.FairGrad(alpha=alpha)(rows), rtol=1e-4, atol=1e-4
        )


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="alpha must be a number >= 0"):
        fairgrad(-1)
    with pytest.raises(BalanceError, match="on_stationary must be"):
        fairgrad(on_stationary="stop")
    with pytest.raises(BalanceError, match="max_norm must be a positive number"):
        fairgrad(max_norm=-2)
    assert repr(fairgrad()) == "chain(fairgrad(2))"
    assert repr(fairgrad(1, max_norm=1)) == "chain(fairgrad(1), clip(1))"
    assert fairgrad().head_gradient == "unweighted"
