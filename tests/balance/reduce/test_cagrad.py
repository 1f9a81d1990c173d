"""CAGrad: the ball, the dual certificate, the limits in c, points where the dual direction vanishes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance._solve import conflict_averse
from taskloom.balance.reduce.cagrad import cagrad
from taskloom.balance.reduce.mgda import mgda
from taskloom.errors import BalanceError


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9])
@pytest.mark.parametrize("n_tasks", [2, 3, 5, 20])
def test_the_direction_is_the_best_of_the_ball(n_tasks: int, c: float) -> None:
    for seed in range(4):
        rows = jacobian(n_tasks, n_tasks + 3, seed)
        mean = rows.mean(0)
        direction = cagrad(c, rescale=0).direction(rows)
        radius = c * mean.norm()
        torch.testing.assert_close((direction - mean).norm(), radius)
        assert float(direction @ mean / direction.norm() / mean.norm()) >= (1 - c**2) ** 0.5 - 1e-12
        worst = (rows @ direction).min()
        assert float(worst) >= float((rows @ mean).min()) - 1e-12
        # weak duality: no point of the ball does better than the objective at any point of the simplex
        point = conflict_averse(rows @ rows.T, c)
        objective = point @ rows @ mean + radius * (point @ rows).norm()
        torch.testing.assert_close(worst, objective, rtol=1e-7, atol=1e-9)


def test_rescaling_modes() -> None:
    rows = jacobian(3, 5)
    plain = cagrad(0.5, rescale=0).direction(rows)
    torch.testing.assert_close(cagrad(0.5, rescale=1).direction(rows), plain / 1.25)
    torch.testing.assert_close(cagrad(0.5, rescale=2).direction(rows), plain / 1.5)


def test_limits_in_c() -> None:
    rows = jacobian(4, 6)
    torch.testing.assert_close(cagrad(0.0).weights(rows @ rows.T), torch.full((4,), 0.25, dtype=torch.float64))
    wide, shortest = cagrad(1e8, rescale=0).direction(rows), mgda().direction(rows)
    torch.testing.assert_close(wide / wide.norm(), shortest / shortest.norm(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.5, 1.0]]),
        torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 5.0]]),
        torch.tensor([[1.0, 0.0], [-1.0, 1e-12], [0.0, 5.0]]),
    ],
    ids=["zero gradient", "opposite and orthogonal", "up to rounding"],
)
def test_without_a_dual_direction_it_is_the_mean_gradient(rows: Tensor) -> None:
    rows = rows.double()
    point = conflict_averse(rows @ rows.T, 0.4)
    assert float((point @ rows).norm()) <= 1e-7
    torch.testing.assert_close(cagrad(0.4, rescale=0).direction(rows), rows.mean(0), rtol=1e-9, atol=1e-9)


def test_a_stationary_point_is_no_stop() -> None:
    """No direction lowers all losses, but the mean loss can still fall."""
    rows = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(cagrad(0.4, rescale=0).direction(rows), 0.6 * rows.mean(0))


def test_opposite_gradients_follow_the_longer_one() -> None:
    rows = torch.tensor([[1.0, 2.0], [-2.0, -4.0]], dtype=torch.float64)
    direction = cagrad(0.4, rescale=0).direction(rows)
    torch.testing.assert_close(direction, 0.6 * rows.mean(0))  # as near to the loser as the ball allows


def test_edge_cases() -> None:
    assert cagrad(0.5, rescale=2).weights(torch.tensor([[4.0]])).tolist() == [1.0]
    assert cagrad().weights(torch.zeros(3, 3, dtype=torch.float64)).tolist() == pytest.approx([1 / 3 / 1.16] * 3)
    equal = torch.ones(4, 4, dtype=torch.float64)
    found = cagrad(0.5, rescale=0).weights(equal)
    torch.testing.assert_close(found, torch.full((4,), 1.5 / 4, dtype=torch.float64))
    unbalanced = jacobian(5, 8) * torch.logspace(-3, 3, 5, dtype=torch.float64).unsqueeze(1)
    direction, mean = cagrad(0.4, rescale=0).direction(unbalanced), unbalanced.mean(0)
    torch.testing.assert_close((direction - mean).norm(), 0.4 * mean.norm())


def test_torchjd_agrees_where_its_optimiser_is_exact() -> None:
    pytest.importorskip("cvxpy")
    pytest.importorskip("clarabel")
    aggregation = pytest.importorskip("torchjd.aggregation")
    for n_tasks in (2, 3, 6):
        rows = jacobian(n_tasks, n_tasks + 4, seed=n_tasks)
        expected = aggregation.CAGrad(c=0.4)(rows)
        torch.testing.assert_close(cagrad(0.4, rescale=0).direction(rows), expected, rtol=1e-4, atol=1e-4)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="c must be a number >= 0"):
        cagrad(-0.1)
    with pytest.raises(BalanceError, match="rescale must be"):
        cagrad(rescale=3)
    assert repr(cagrad(0.5)) == "chain(cagrad(0.5))"
    assert repr(cagrad(0.5, rescale=0)) == "chain(cagrad(0.5, rescale=0))"
    assert cagrad().head_gradient == "unweighted"
