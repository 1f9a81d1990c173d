"""ConFIG: against its definition with the pseudo-inverse of K x P, lengths, preferences, and where it is undefined."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.reduce.config import config
from taskloom.balance.reduce.imtl_g import imtl_g
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "config"), dtype=torch.float64)


def by_definition(rows: Tensor, preference: Tensor | None = None) -> Tensor:
    units = rows / rows.norm(dim=1, keepdim=True)
    right = torch.ones(len(rows), dtype=torch.float64) if preference is None else preference
    direction = torch.linalg.pinv(units) @ right
    direction = direction / direction.norm()
    return (rows @ direction).sum() * direction


@pytest.mark.parametrize(("n_tasks", "size"), [(1, 3), (2, 5), (3, 4), (5, 20), (10, 12), (6, 4)])
def test_follows_the_definition(n_tasks: int, size: int) -> None:
    rows = jacobian(n_tasks, size, seed=n_tasks)
    torch.testing.assert_close(config().direction(rows), by_definition(rows), **CLOSE)


def test_two_tasks_give_the_bisector() -> None:
    rows = jacobian(2, 5) * torch.tensor([[1.0], [100.0]], dtype=torch.float64)
    units = rows / rows.norm(dim=1, keepdim=True)
    found = config().direction(rows)
    torch.testing.assert_close(found / found.norm(), units.sum(0) / units.sum(0).norm(), **CLOSE)


@pytest.mark.parametrize("n_tasks", [2, 3, 5, 10])
def test_opposes_no_task_and_points_as_guarded_imtl_g(n_tasks: int) -> None:
    rows = jacobian(n_tasks, 2 * n_tasks, seed=n_tasks) * torch.logspace(-3, 3, n_tasks).double().unsqueeze(1)
    found, impartial = config().direction(rows), imtl_g().direction(rows)
    angles = rows @ found / rows.norm(dim=1) / found.norm()
    torch.testing.assert_close(angles, angles[:1].expand(n_tasks), **CLOSE)
    assert float(angles[0]) > 0
    torch.testing.assert_close(found / found.norm(), impartial / impartial.norm(), **CLOSE)


def test_lengths() -> None:
    rows = torch.cat([jacobian(4, 9), torch.zeros(1, 9, dtype=torch.float64)])
    norms = rows[:4].norm(dim=1)
    for length, expected in (("min", norms.min()), ("mean", norms.mean()), ("max", norms.max())):
        found = config(length)
        torch.testing.assert_close(found.direction(rows).norm(), expected, **CLOSE)
        plain = config().direction(rows)
        torch.testing.assert_close(found.direction(rows) / expected, plain / plain.norm(), **CLOSE)


def test_cosines_are_in_the_ratio_of_the_preference() -> None:
    rows = jacobian(3, 8)
    balancer = config(preference={"a": 1.0, "b": 2.0, "c": 4.0})
    balancer.bind(["c", "a", "b"])
    found = balancer.direction(rows)
    angles = rows @ found / rows.norm(dim=1)
    torch.testing.assert_close(angles / angles[1], torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64), **CLOSE)
    torch.testing.assert_close(found, by_definition(rows, torch.tensor([4.0, 1.0, 2.0], dtype=torch.float64)), **CLOSE)
    fewer = balancer.combine(torch.ones(2).double(), rows[1:] @ rows[1:].T, tasks=["a", "b"]).weights
    expected = by_definition(rows[1:], torch.tensor([1.0, 2.0], dtype=torch.float64))
    torch.testing.assert_close(fewer @ rows[1:], expected, **CLOSE)


def test_opposite_gradients_give_no_direction() -> None:
    rows = jacobian(1, 5)
    rows = torch.cat([rows, -2 * rows])
    for balancer in (config(), config("mean"), config(on_stationary="zero")):
        assert balancer.weights(rows @ rows.T).tolist() == [0.0, 0.0]
        assert balancer.direction(rows).tolist() == [0.0] * 5


def test_on_stationary_zero_stops_where_no_direction_helps_all() -> None:
    rows = jacobian(20, 3)
    assert config(on_stationary="zero").weights(rows @ rows.T).tolist() == [0.0] * 20
    assert float(config().direction(rows).norm()) > 0
    rows = jacobian(3, 6)
    gramian = rows @ rows.T
    assert torch.equal(config(on_stationary="zero").weights(gramian), config().weights(gramian))


def test_zero_rows_are_dropped() -> None:
    rows = jacobian(4, 6)
    rows[1] = 0
    weights = config().weights(rows @ rows.T)
    assert float(weights[1]) == 0
    kept = [0, 2, 3]
    torch.testing.assert_close(weights[kept], config().weights(rows[kept] @ rows[kept].T), **CLOSE)
    assert config().weights(torch.zeros(2, 2)).tolist() == [0.5, 0.5]


def test_a_single_task_keeps_its_gradient() -> None:
    for length in ("projection", "min", "mean", "max"):
        torch.testing.assert_close(config(length).weights(torch.tensor([[9.0]])), torch.ones(1))


def test_torchjd_agrees() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    for n_tasks, size in [(2, 4), (4, 9), (6, 20)]:
        rows = jacobian(n_tasks, size, seed=n_tasks)
        torch.testing.assert_close(config().direction(rows), aggregation.ConFIG()(rows), **CLOSE)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="length must be one of"):
        config("longest")
    with pytest.raises(BalanceError, match="on_stationary must be"):
        config(on_stationary="stop")
    with pytest.raises(BalanceError, match=r"config\(\): preference: found -1"):
        config(preference=[1.0, -1.0])
    with pytest.raises(BalanceError, match="there is no task 'c'"):
        config(preference={"a": 1.0, "c": 1.0}).bind(["a", "b"])
    assert repr(config("min", preference=[1.0, 2.0], on_stationary="zero")) == (
        "chain(config('min', preference=[1.0, 2.0], on_stationary='zero'))"
    )
