"""UPGrad: projections of every gradient, PCGrad for two tasks, preferences, TorchJD's ridge."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.base import chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.mix.upgrad import project_dual_cone, upgrad
from taskloom.balance.reduce.dualproj import dualproj
from taskloom.balance.reduce.mean import mean
from taskloom.balance.reduce.sum import sum_
from taskloom.balance.scale.fixed import scale_by
from taskloom.errors import BalanceError


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "test"), dtype=torch.float64)


def test_two_tasks_are_half_of_pcgrad() -> None:
    for seed in range(10):
        rows = jacobian(2, 3, seed)
        torch.testing.assert_close(upgrad().direction(rows), pcgrad().direction(rows) / 2)


@pytest.mark.parametrize("n_tasks", [1, 2, 3, 5, 10])
def test_every_row_is_projected(n_tasks: int) -> None:
    rows = jacobian(n_tasks, n_tasks + 1) * torch.logspace(-1, 1, n_tasks, dtype=torch.float64).unsqueeze(1)
    projected = project_dual_cone().mix(rows @ rows.T) @ rows
    scale = float(rows.norm(dim=1).max()) ** 2
    assert float((projected @ rows.T).min()) >= -1e-9 * scale
    inner = ((rows - projected) * projected).sum(1)  # what is given up is orthogonal to what is left
    torch.testing.assert_close(inner, torch.zeros_like(inner), rtol=0, atol=1e-9 * scale)
    torch.testing.assert_close(upgrad().direction(rows), projected.mean(0))


def test_without_conflict_it_is_the_mean() -> None:
    rows = jacobian(4, 6).abs()
    gramian = rows @ rows.T
    assert upgrad().weights(gramian).tolist() == [0.25] * 4
    assert torch.equal(upgrad().weights(gramian), dualproj().weights(gramian))


def test_a_projected_gradient_is_as_long_as_its_task_is() -> None:
    """The cone does not know lengths: scaling a gradient scales its own projection and no other."""
    rows, scales = jacobian(4, 6), torch.tensor([1.0, 10.0, 0.1, 3.0], dtype=torch.float64)
    scaled = scales.unsqueeze(1) * rows
    projected = project_dual_cone().mix(rows @ rows.T) @ rows
    torch.testing.assert_close(upgrad().direction(scaled), (scales.unsqueeze(1) * projected).mean(0))


def test_preferences_weigh_the_projections() -> None:
    rows = jacobian(3, 5)
    gramian = rows @ rows.T
    preference = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    projected = project_dual_cone().mix(gramian)
    by_name = upgrad({"c": 0.5, "a": 0.2, "b": 0.3})
    by_name.bind(["a", "b", "c"])
    torch.testing.assert_close(by_name.weights(gramian), preference @ projected)
    torch.testing.assert_close(upgrad([0.2, 0.3, 0.5]).weights(gramian), preference @ projected)
    scaled_before = chain(scale_by([0.2, 0.3, 0.5]), project_dual_cone(), sum_())
    torch.testing.assert_close(scaled_before.weights(gramian), preference @ projected)
    # unweighted heads learn as if there was no preference
    assert by_name.combine(torch.zeros(3), gramian).head_weights.tolist() == [1.0, 1.0, 1.0]


def test_edge_cases() -> None:
    assert upgrad().weights(torch.tensor([[4.0]])).tolist() == [1.0]
    assert upgrad().weights(torch.zeros(4, 4)).tolist() == [0.25] * 4
    opposite = torch.tensor([[1.0, 2.0], [-3.0, -6.0]], dtype=torch.float64)
    torch.testing.assert_close(upgrad().direction(opposite), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-14)
    rows = jacobian(3, 5)
    rows[1] = 0
    weights = upgrad().weights(rows @ rows.T)
    kept = rows[[0, 2]]
    torch.testing.assert_close(weights[[0, 2]], upgrad().weights(kept @ kept.T) * 2 / 3)
    assert float(weights[1]) == pytest.approx(1 / 3)
    many = jacobian(8, 3)
    direction = upgrad().direction(many)
    assert float((many @ direction).min()) >= -1e-9


def test_torchjd_agrees_with_its_ridge() -> None:
    pytest.importorskip("quadprog")
    pytest.importorskip("qpsolvers")
    aggregation = pytest.importorskip("torchjd.aggregation")
    for n_tasks in (2, 4, 7):
        rows = jacobian(n_tasks, n_tasks + 2, seed=n_tasks)
        torch.testing.assert_close(upgrad(ridge=1e-4).direction(rows), aggregation.UPGrad()(rows), rtol=1e-6, atol=1e-8)


def test_reads_as_a_recipe() -> None:
    assert repr(upgrad()) == "chain(project_dual_cone(), mean())"
    assert repr(upgrad([1.0, 2.0])) == "chain(project_dual_cone([1.0, 2.0]), sum_())"
    assert torch.equal(chain(project_dual_cone(), mean()).weights(torch.eye(2)), upgrad().weights(torch.eye(2)))
    with pytest.raises(BalanceError, match="ridge"):
        upgrad(ridge=float("nan"))
    assert upgrad().head_gradient == "unweighted"
