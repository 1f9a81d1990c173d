"""The interior point agrees with the active set, in batches, without looking at numbers on the host."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance import _interior, _solve
from taskloom.solvers import dual_cone as exact_cone
from taskloom.solvers import minimum_norm as exact_norm

KINDS = ("leaning", "unequal", "deficient", "twins", "opposite")


def rows_of(kind: str, n_tasks: int, number: int) -> Tensor:
    generator = torch_stream(0, "interior", KINDS.index(kind), n_tasks, number)
    size = max(1, n_tasks // 2) if kind == "deficient" else 2 * n_tasks + 4
    rows = torch.randn(n_tasks, size, generator=generator, dtype=torch.float64)
    if kind == "leaning":
        rows = rows + 0.3 * torch.randn(size, generator=generator, dtype=torch.float64)
    if kind == "unequal":
        rows = rows * 10 ** (6 * torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64) - 3)
    if kind in ("twins", "opposite"):
        rows[1] = rows[0] if kind == "twins" else -2 * rows[0]
    return rows


@pytest.mark.parametrize("n_tasks", [2, 5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_shortest_vectors_are_those_of_the_active_set(kind: str, n_tasks: int) -> None:
    jacobians = torch.stack([rows_of(kind, n_tasks, number) for number in range(3)])
    weights = _interior.min_norm(jacobians @ jacobians.mT)
    for rows, found in zip(jacobians, weights, strict=True):
        exact = torch.from_numpy(exact_norm.minimum_norm((rows @ rows.T).numpy())) @ rows
        assert (found @ rows - exact).norm() <= 1e-9 * rows.norm(dim=1).min()
        assert found.min() >= 0
        assert found.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("n_tasks", [2, 5, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_projections_are_those_of_the_active_set(kind: str, n_tasks: int) -> None:
    rows = rows_of(kind, n_tasks, 0)
    gramian, unit = rows @ rows.T, torch.eye(n_tasks, dtype=torch.float64)
    found = _interior.dual_cone(gramian, unit) @ rows
    exact = torch.from_numpy(exact_cone.dual_cone(gramian.numpy(), unit.numpy())) @ rows
    assert ((found - exact).norm(dim=1) <= 1e-9 * rows.norm(dim=1)).all()


def test_rows_that_are_not_there_take_no_part() -> None:
    rows = rows_of("leaning", 5, 0)
    gramian, active = rows @ rows.T, torch.tensor([True, False, True, True, False])
    weights = _interior.min_norm(gramian, active)
    assert weights[~active].eq(0).all()
    torch.testing.assert_close(weights[active], _interior.min_norm(gramian[active][:, active]), rtol=1e-9, atol=1e-12)


def test_zero_rows_share_the_weight_and_none_is_none() -> None:
    gramian = torch.diag(torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64))
    assert _interior.min_norm(gramian).tolist() == [0.5, 0.0, 0.5]
    assert _interior.min_norm(gramian, torch.tensor([False, True, False])).tolist() == [0.0, 1.0, 0.0]
    assert _interior.min_norm(gramian, torch.zeros(3, dtype=torch.bool)).tolist() == [0.0, 0.0, 0.0]


def test_one_member_that_is_not_finite_leaves_the_others_alone() -> None:
    gramian = torch.stack([torch.eye(3, dtype=torch.float64), torch.full((3, 3), torch.nan, dtype=torch.float64)])
    weights = _interior.min_norm(gramian)
    torch.testing.assert_close(weights[0], torch.full((3,), 1 / 3, dtype=torch.float64))
    assert weights[1].isnan().all()


def test_gramians_that_stay_on_their_device_give_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of("leaning", 5, 1)
    gramian, mixed = rows @ rows.T, torch.eye(5, dtype=torch.float64) / 5
    on_host = _solve.min_norm(gramian) @ rows, _solve.dual_cone(gramian, mixed) @ rows
    monkeypatch.setattr(_solve, "_stays", lambda given: True)
    monkeypatch.setattr(_solve._minimum_norm, "minimum_norm", None)  # nobody asks the host
    monkeypatch.setattr(_solve._dual_cone, "dual_cone", None)
    there = _solve.min_norm(gramian) @ rows, _solve.dual_cone(gramian, mixed) @ rows
    torch.testing.assert_close(there, on_host, rtol=1e-9, atol=1e-12)
    assert _solve.min_norm(gramian.float()).dtype == torch.float32
