"""Nash-MTL: the bargaining equation, the bound on the length, old weights in between, stationary points."""

from __future__ import annotations

import io

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.flow import Need
from taskloom.balance.reduce.nash_mtl import nash_mtl
from taskloom.errors import BalanceError


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 10, 40])
def test_the_equation_holds(n_tasks: int) -> None:
    rows = jacobian(n_tasks, n_tasks + 3) * torch.logspace(-3, 3, n_tasks, dtype=torch.float64).unsqueeze(1)
    weights = nash_mtl(None).weights(rows @ rows.T)
    progress = rows @ (weights @ rows)
    torch.testing.assert_close(weights * progress, torch.ones(n_tasks, dtype=torch.float64), rtol=1e-8, atol=1e-8)
    assert float((weights @ rows).norm()) == pytest.approx(n_tasks**0.5)


def test_two_tasks_by_hand() -> None:
    rows = torch.tensor([[3.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    unit = rows / rows.norm(dim=1, keepdim=True)
    expected = unit.sum(0) / (1 + unit[0] @ unit[1]).sqrt()
    torch.testing.assert_close(nash_mtl(None).direction(rows), expected)
    torch.testing.assert_close(nash_mtl().direction(rows), expected / 2**0.5)


@pytest.mark.parametrize("max_norm", [0.5, 1.0, 10.0])
def test_the_direction_is_no_longer_than_allowed(max_norm: float) -> None:
    rows = jacobian(4, 6)
    free, bound = nash_mtl(0).direction(rows), nash_mtl(max_norm).direction(rows)
    torch.testing.assert_close(bound, free * min(1.0, max_norm / 2.0))


def test_weights_are_kept_between_looks() -> None:
    gramians = [rows @ rows.T for rows in (jacobian(3, 5, seed) for seed in range(5))]
    balancer, always = nash_mtl(update_weights_every=2), nash_mtl()
    assert [balancer.needs_at(step) for step in range(3)] == [Need.GRAMIAN, Need.NOTHING, Need.GRAMIAN]
    path = [balancer.weights(gramian) for gramian in gramians]
    fresh = [always.weights(gramian) for gramian in gramians]
    for step in range(5):
        assert torch.equal(path[step], fresh[step - step % 2])


def test_kept_weights_are_saved_and_forgotten() -> None:
    gramians = [rows @ rows.T for rows in (jacobian(3, 5, seed) for seed in range(3))]
    balancer, other = nash_mtl(update_weights_every=3), nash_mtl(update_weights_every=3)
    for one in (balancer, other):
        one.bind(["a", "b", "c"])
    first = balancer.weights(gramians[0])
    file = io.BytesIO()
    torch.save(balancer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.weights(gramians[1]), balancer.weights(gramians[1]))
    assert torch.equal(other.weights(gramians[1]), first)
    balancer.reset()
    assert torch.equal(balancer.weights(gramians[2]), nash_mtl().weights(gramians[2]))


def test_a_task_marked_absent_at_a_look_keeps_its_weight() -> None:
    balancer = nash_mtl(None, update_weights_every=2)
    balancer.bind(["a", "b"])
    both, losses = torch.diag(torch.tensor([1.0, 4.0], dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    balancer.combine(losses, both, step=0)
    one = both * torch.tensor([4.0, 0.0])
    balancer.combine(losses, one, active=torch.tensor([True, False]), step=2)
    assert balancer.combine(losses, step=3).weights.tolist() == [0.5, 0.5]


def test_zero_gradients_get_no_weight_and_disturb_nobody() -> None:
    rows = jacobian(4, 6)
    rows[2] = 0
    weights = nash_mtl(None).weights(rows @ rows.T)
    kept = rows[[0, 1, 3]]
    assert float(weights[2]) == 0
    torch.testing.assert_close(weights[[0, 1, 3]], nash_mtl(None).weights(kept @ kept.T))
    assert nash_mtl().weights(torch.zeros(4, 4)).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([[1.0, 2.0], [-2.0, -4.0]]),
        torch.tensor([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]),
        torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
    ],
    ids=["opposite", "around", "opposite and more"],
)
def test_stationary_points(rows: Tensor) -> None:
    rows = rows.double()
    assert nash_mtl(on_stationary="zero").weights(rows @ rows.T).tolist() == [0.0] * len(rows)
    for max_norm in (None, 1.0):
        weights = nash_mtl(max_norm).weights(rows @ rows.T)
        assert bool(torch.isfinite(weights).all())
        assert float((weights @ rows).norm()) <= len(rows) ** 0.5
        again = nash_mtl(max_norm).weights(rows @ rows.T)
        assert torch.equal(weights, again)


def test_equal_gradients_share() -> None:
    equal = torch.full((4, 4), 9.0, dtype=torch.float64)
    torch.testing.assert_close(nash_mtl(None).weights(equal), torch.full((4,), 1 / 6, dtype=torch.float64))


def test_heads_are_weighted_as_in_the_paper() -> None:
    assert nash_mtl().head_gradient == "weighted"
    assert nash_mtl(update_weights_every=4).head_gradient == "weighted"


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="max_norm must be a positive number"):
        nash_mtl(-1.0)
    with pytest.raises(BalanceError, match="on_stationary must be"):
        nash_mtl(on_stationary="previous")
    with pytest.raises(BalanceError, match="whole number of steps"):
        nash_mtl(update_weights_every=0)
    assert repr(nash_mtl()) == "chain(nash(), clip(1))"
    assert repr(nash_mtl(None, update_weights_every=2)) == "chain(every(2, chain(nash())))"
