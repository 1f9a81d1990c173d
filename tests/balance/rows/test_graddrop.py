"""GradDrop: against its definition, its expectation, what passes unchanged, its lots; and the form for features."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import chain
from taskloom.balance.flow import Rows
from taskloom.balance.rows.graddrop import GradDrop, graddrop, graddrop_features
from taskloom.balance.scale.fixed import scale_by
from taskloom.errors import BalanceError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch_stream(seed, "graddrop"), dtype=torch.float64)


def lots(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch_stream(seed, "graddrop lots"), dtype=torch.float64)


def by_definition(rows: Tensor, uniform: Tensor, leak: list[float]) -> Tensor:
    total = torch.zeros_like(rows[0])
    for p in range(rows.shape[1]):
        column = rows[:, p]
        size = column.abs().sum()
        purity = 0.5 * (1 + (column.sum() / size if size > 0 else 0))
        for i, value in enumerate(column):
            kept = (purity > uniform[p] and value > 0) or (purity < uniform[p] and value < 0)
            total[p] += (leak[i] + (1 - leak[i]) * kept) * value
    return total


@pytest.mark.parametrize("leak", [0.0, 0.3, [0.0, 0.5, 1.0, 0.1]])
def test_follows_the_definition(leak: float | list[float]) -> None:
    rows, uniform = normal(4, 50), lots(50)
    rows[:, 3] = 0
    each = leak if isinstance(leak, list) else [leak] * 4
    torch.testing.assert_close(graddrop(leak, uniform=uniform).direction(rows), by_definition(rows, uniform, each))


def test_leak_one_is_the_sum_and_agreement_passes() -> None:
    rows = normal(3, 20)
    torch.testing.assert_close(graddrop(1.0).direction(rows), rows.sum(0))
    for sign in (1, -1):
        agreed = sign * rows.abs()
        for uniform in (torch.zeros(20), torch.full((20,), 1 - 2**-24)):  # the ends of what can be drawn
            torch.testing.assert_close(graddrop(uniform=uniform).direction(agreed), agreed.sum(0))
            torch.testing.assert_close(graddrop(uniform=uniform).direction(agreed.float()), agreed.float().sum(0))


def test_expectation_over_lots() -> None:
    rows = normal(3, 5)
    positive, negative = rows.clamp(min=0).sum(0), rows.clamp(max=0).sum(0)
    purity = positive / (positive - negative)
    balancer = graddrop(seed=1)
    mean = torch.stack([balancer.direction(rows) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, purity * positive + (1 - purity) * negative, rtol=0, atol=0.1)


def test_lots_depend_on_seed_and_step_alone() -> None:
    rows = normal(3, 30)
    first, second = graddrop(seed=1), graddrop(seed=1)
    path = [first.direction(rows) for _ in range(3)]
    assert all(torch.equal(one, second.direction(rows)) for one in path)
    assert not torch.equal(path[0], path[1])
    assert not torch.equal(path[0], graddrop(seed=2).direction(rows))
    first.reset()
    assert torch.equal(first.direction(rows), path[0])
    permuted = graddrop(seed=1).direction(rows[[2, 0, 1]])
    torch.testing.assert_close(permuted, path[0], rtol=1e-12, atol=1e-12)
    given = [graddrop(generator=torch.Generator().manual_seed(5)).direction(rows) for _ in range(2)]
    assert torch.equal(given[0], given[1])


def test_leaks_by_name_and_fewer_tasks() -> None:
    rows, uniform = normal(3, 12), lots(12)
    balancer = graddrop({"a": 0.0, "b": 1.0, "c": 0.5}, uniform=uniform)
    balancer.bind(["c", "a", "b"])
    torch.testing.assert_close(balancer.direction(rows), by_definition(rows, uniform, [0.5, 0.0, 1.0]))
    fewer = balancer.combine(torch.zeros(2).double(), rows=Rows((rows[:2],)), tasks=["c", "b"]).direction
    assert fewer is not None
    torch.testing.assert_close(fewer, by_definition(rows[:2], uniform, [0.5, 1.0]))


def test_sees_rows_as_earlier_links_leave_them() -> None:
    rows, uniform = normal(2, 12), lots(12)
    found = chain(scale_by([1.0, 3.0]), graddrop(uniform=uniform)).direction(rows)
    scaled = rows * torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    torch.testing.assert_close(found, by_definition(scaled, uniform, [0.0, 0.0]))
    torch.testing.assert_close(
        GradDrop(0.0, seed=0, generator=None, uniform=uniform).combine(rows), by_definition(rows, uniform, [0.0, 0.0])
    )


def test_edges() -> None:
    assert graddrop().direction(torch.zeros(3, 4)).tolist() == [0.0] * 4
    row = normal(1, 7)
    assert torch.equal(graddrop().direction(row), row[0])
    opposite = torch.cat([row, -row])
    found = graddrop().direction(opposite)
    assert torch.equal(found.abs(), row[0].abs())  # decided by lot instead of cancelling
    half = graddrop().direction(normal(2, 4).bfloat16())
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("leak", [0.0, 0.4])
def test_features_follow_the_definition(leak: float) -> None:
    gradients, features, uniform = normal(3, 4, 5), normal(4, 5, seed=1), lots(5)
    signs = (gradients * features.sign()).sum(1)  # (3, 5)
    expected = torch.zeros_like(features)
    for j in range(5):
        purity = 0.5 * (1 + signs[:, j].sum() / signs[:, j].abs().sum())
        for i in range(3):
            kept = float(signs[i, j] > 0 if purity > uniform[j] else signs[i, j] < 0)
            expected[:, j] += (leak + (1 - leak) * kept) * gradients[i, :, j]
    torch.testing.assert_close(graddrop_features(gradients, features, uniform=uniform, leak=leak), expected)
    per_task = graddrop_features(gradients, features, uniform=uniform, leak=torch.full((3,), leak))
    torch.testing.assert_close(per_task, expected)


def test_features_may_have_any_shape_and_leak_one_is_the_sum() -> None:
    gradients, features = normal(2, 3, 4, 5), normal(3, 4, 5)
    found = graddrop_features(gradients, features, uniform=lots(4, 5), leak=1.0)
    torch.testing.assert_close(found, gradients.sum(0))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match=r"graddrop\(\): leak: found 1.5; expected numbers between 0 and 1"):
        graddrop(1.5)
    with pytest.raises(BalanceError, match=r"expected \(4,\)"):
        graddrop(uniform=torch.zeros(3)).direction(torch.zeros(2, 4))
    with pytest.raises(BalanceError, match="2 numbers for 3 tasks"):
        graddrop([0.1, 0.2]).direction(torch.zeros(3, 4))
    with pytest.raises(BalanceError, match="belong to features"):
        graddrop_features(torch.zeros(2, 3, 4), torch.zeros(3, 5), uniform=torch.zeros(5))
    with pytest.raises(BalanceError, match="one number per feature"):
        graddrop_features(torch.zeros(2, 3, 4), torch.zeros(3, 4), uniform=torch.zeros(3))
    with pytest.raises(BalanceError, match="share between 0 and 1"):
        graddrop_features(torch.zeros(2, 3, 4), torch.zeros(3, 4), uniform=torch.zeros(4), leak=2.0)
    with pytest.raises(BalanceError, match="a Gramian is not enough"):
        graddrop().weights(torch.eye(2))
    assert repr(graddrop()) == "chain(graddrop())"
    assert repr(graddrop(0.2)) == "chain(graddrop(0.2))"
