"""SDMGrad: the exact form between MGDA and the mean, the stochastic form against TorchJD, absent tasks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import Balancer
from taskloom.balance.reduce.sdmgrad import DirectedMinNorm, DirectedMinNormSteps, sdmgrad
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def jacobians(n_tasks: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch_stream(seed, "sdmgrad")
    first, second, third = (torch.randn(n_tasks, size, generator=generator, dtype=torch.float64) for _ in range(3))
    return first, first + 0.3 * second, first + 0.3 * third


def weight_of(balancer: Balancer) -> Tensor:
    link = next(iter(balancer))
    assert isinstance(link, DirectedMinNormSteps)
    return link.weight


@pytest.mark.parametrize("lambda_", [0.0, 0.1, 0.3, 1.0, 5.0])
@pytest.mark.parametrize(("n_tasks", "size"), [(2, 3), (4, 8), (6, 4)])
def test_the_exact_form_is_optimal(lambda_: float, n_tasks: int, size: int) -> None:
    rows, _, _ = jacobians(n_tasks, size, seed=n_tasks)
    mean = rows.mean(0)
    weights = (1 + lambda_) * sdmgrad(lambda_).weights(rows @ rows.T) - lambda_ / n_tasks
    assert float(weights.min()) >= -1e-12
    assert float(weights.sum()) == pytest.approx(1)
    pulled = weights @ rows + lambda_ * mean
    # g_i . (J^T w + lambda g_0) >= (J^T w) . (J^T w + lambda g_0) for all i
    scale = float(rows.norm(dim=1).max() * pulled.norm())
    assert float((rows @ pulled).min()) >= float(weights @ rows @ pulled) - 1e-8 * scale
    torch.testing.assert_close(sdmgrad(lambda_).direction(rows), pulled / (1 + lambda_), **CLOSE)


def test_two_tasks_in_closed_form() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(
        sdmgrad(0.0).weights(rows @ rows.T), torch.tensor([0.9, 0.1], dtype=torch.float64), **CLOSE
    )
    large = sdmgrad(1e6).direction(rows)
    torch.testing.assert_close(large, rows.mean(0), rtol=1e-5, atol=1e-5)


def test_exact_edges() -> None:
    assert sdmgrad().weights(torch.tensor([[4.0]])).tolist() == [1.0]
    assert sdmgrad().weights(torch.zeros(4, 4)).tolist() == pytest.approx([0.25] * 4)
    rows, _, _ = jacobians(3, 6)
    rows[1] = 0
    found = sdmgrad(0.0).weights(rows @ rows.T)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), **CLOSE)  # d = 0 is min-norm
    opposite = torch.cat([rows[:1], -2 * rows[:1]])
    assert float(sdmgrad(0.0).direction(opposite).norm()) < 1e-7
    link = DirectedMinNorm(0.3)
    torch.testing.assert_close(link.weights(rows @ rows.T), sdmgrad().weights(rows @ rows.T), **CLOSE)


def test_an_absent_task_is_no_zero_gradient() -> None:
    rows, _, _ = jacobians(4, 6)
    rows[0] = 0
    kept = [1, 2, 3]
    balancer = sdmgrad()
    balancer.bind(["a", "b", "c", "d"])
    present = torch.tensor([False, True, True, True])
    found = balancer.combine(torch.zeros(4).double(), rows @ rows.T, active=present).weights
    torch.testing.assert_close(found[kept], sdmgrad().weights(rows[kept] @ rows[kept].T), **CLOSE)
    assert float(found[0]) == 0


def test_torchjd_agrees_over_steps() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    theirs, ours = aggregation.SDMGradWeighting(lr=2.0), sdmgrad(mode="stochastic", lr=2.0)
    for step in range(4):
        first, second, third = jacobians(4, 6, step)
        expected = theirs(first @ second.T)
        found = ours.step(first, others=[second, third])
        torch.testing.assert_close(found.weights, expected, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(found.direction, found.weights @ third, **CLOSE)


def test_small_steps_lead_to_the_exact_solution() -> None:
    rows, _, _ = jacobians(3, 8)
    balancer = sdmgrad(mode="stochastic", lr=0.1, n_iter=200)
    for _ in range(5):
        found = balancer.step(rows, others=[rows, rows]).weights
    torch.testing.assert_close(found, sdmgrad().weights(rows @ rows.T), rtol=1e-5, atol=1e-6)


def test_stochastic_edges() -> None:
    balancer = sdmgrad(mode="stochastic")
    with pytest.raises(BalanceError, match="3 independent batches"):
        balancer.step(torch.eye(2), others=[torch.eye(2)])
    zero = torch.zeros(3, 5).double()
    assert balancer.step(zero, others=[zero, zero]).weights.tolist() == pytest.approx([1 / 3] * 3)
    first, second, third = jacobians(3, 5)
    balancer.step(first, others=[second, third])
    before = weight_of(balancer).clone()
    balancer.step(zero, others=[zero, zero])
    assert torch.equal(weight_of(balancer), before)


def test_absent_tasks_keep_their_weight() -> None:
    by_name, by_mask = (sdmgrad(mode="stochastic", lr=0.2) for _ in range(2))
    first, second, third = jacobians(3, 5)
    for balancer in (by_name, by_mask):
        balancer.bind(["a", "b", "c"])
        balancer.step(first, others=[second, third])
    before = weight_of(by_name).clone()
    cross = second @ third.T
    cross[1], cross[:, 1] = 0, 0
    kept = [0, 2]
    named = by_name.combine(torch.zeros(2).double(), cross=cross[kept][:, kept], tasks=["a", "c"]).weights
    present = torch.tensor([True, False, True])
    masked = by_mask.combine(torch.zeros(3).double(), cross=cross, active=present).weights
    torch.testing.assert_close(masked[kept], named, **CLOSE)
    for balancer in (by_name, by_mask):
        assert float(weight_of(balancer)[1]) == float(before[1])
        assert float(weight_of(balancer).sum()) == pytest.approx(1)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="lambda_"):
        sdmgrad(-0.1)
    with pytest.raises(BalanceError, match="mode must be"):
        sdmgrad(mode="fast")
    for wrong in ({"lr": 0.0}, {"momentum": 1.0}, {"n_iter": 0}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            sdmgrad(mode="stochastic", **wrong)
    assert repr(sdmgrad()) == "chain(sdmgrad(0.3))"
    assert repr(sdmgrad(mode="stochastic")) == "chain(sdmgrad(0.3, mode='stochastic'))"
