"""Aligned-MTL: what alignment does to the singular values, its rank tolerance, and its edges."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.flow import Rows
from taskloom.balance.reduce.aligned_mtl import AlignedMTL, aligned_mtl
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "aligned"), dtype=torch.float64)


def mixing_matrix(gramian: Tensor, scale: str = "min") -> Tensor:
    """B, column by column: the weights of every unit preference."""
    n_tasks = len(gramian)
    columns = []
    for task in range(n_tasks):
        preference = [float(task == other) for other in range(n_tasks)]
        columns.append(aligned_mtl(scale, preference=preference).weights(gramian))
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize(("n_tasks", "size", "rank"), [(2, 5, 2), (4, 9, 4), (6, 4, 4)])
def test_aligned_rows_have_equal_singular_values(n_tasks: int, size: int, rank: int) -> None:
    rows = jacobian(n_tasks, size, seed=n_tasks)
    gramian = rows @ rows.T
    mixing = mixing_matrix(gramian)
    values, vectors = torch.linalg.eigh(gramian)
    smallest, kept = values[n_tasks - rank], vectors[:, n_tasks - rank :]
    torch.testing.assert_close(
        mixing @ gramian @ mixing, smallest * kept @ kept.T, **CLOSE
    )  # lambda_R times a projector
    singular = torch.linalg.svdvals(mixing @ rows)[:rank]
    torch.testing.assert_close(singular, smallest.sqrt().expand(rank), **CLOSE)


def test_scales_are_those_of_the_kept_singular_values() -> None:
    rows = jacobian(5, 4)  # rank 4
    singular = torch.linalg.svdvals(rows)[:4].sort().values
    expected = {"min": singular[0], "median": singular[1], "rmse": singular.square().mean().sqrt()}
    for scale, value in expected.items():
        found = torch.linalg.svdvals(mixing_matrix(rows @ rows.T, scale) @ rows)[:4]
        torch.testing.assert_close(found, value.expand(4), **CLOSE)


def test_orthogonal_gradients_of_equal_length_are_averaged() -> None:
    rows = 3 * torch.eye(4, 6, dtype=torch.float64)
    for scale in ("min", "median", "rmse"):
        torch.testing.assert_close(aligned_mtl(scale).direction(rows), rows.mean(0), **CLOSE)


def test_preference() -> None:
    rows = jacobian(3, 7)
    plain = aligned_mtl().direction(rows)
    torch.testing.assert_close(aligned_mtl(preference=[1.0, 1.0, 1.0]).direction(rows), 3 * plain, **CLOSE)
    named = aligned_mtl(preference={"b": 0.0, "a": 1.0, "c": 0.5})
    named.bind(["a", "b", "c"])
    expected = aligned_mtl(preference=[1.0, 0.0, 0.5]).direction(rows)
    assert torch.equal(named.direction(rows), expected)


def test_noise_of_float32_gradients_is_no_singular_value() -> None:
    exact = jacobian(4, 50)
    exact[3] = exact[0] - exact[1]  # rank 3
    expected = aligned_mtl().direction(exact)
    narrow = exact.float()  # rounding makes it rank 4, with a smallest singular value of about 1e-7
    balancer = aligned_mtl()
    given_rows = balancer.direction(narrow).double()
    given_losses = balancer.combine(torch.ones(4), Rows((narrow,)).gramian()).weights.double() @ exact
    given_gramian = balancer.weights(narrow @ narrow.T).double() @ exact
    for found in (given_rows, given_losses, given_gramian):
        assert float((found - expected).norm() / expected.norm()) < 1e-3
    misled = aligned_mtl(min_rel_eig=1e-16).direction(narrow).double()
    assert float(misled.norm()) < 1e-3 * float(expected.norm())


def test_min_rel_eig_drops_weak_combinations() -> None:
    rows = torch.diag(torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64))
    assert aligned_mtl().direction(rows).tolist() == pytest.approx([1 / 3] * 3)
    assert aligned_mtl(min_rel_eig=1e-3).direction(rows).tolist() == pytest.approx([0, 10 / 3, 10 / 3])


def test_zero_rows() -> None:
    rows = jacobian(3, 6)
    rows[1] = 0
    for scale in ("min", "median", "rmse"):
        weights = aligned_mtl(scale).weights(rows @ rows.T)
        assert abs(float(weights[1])) < 1e-15
        preference = aligned_mtl(scale, preference=[1 / 3, 1 / 3]).weights(rows[[0, 2]] @ rows[[0, 2]].T)
        torch.testing.assert_close(weights[[0, 2]], preference, **CLOSE)
    assert aligned_mtl().weights(torch.zeros(4, 4)).tolist() == [0.25] * 4
    assert AlignedMTL("min", None, None).weights(torch.zeros(2, 2)).tolist() == [0.0, 0.0]


def test_opposite_gradients_and_bad_scales_are_finite() -> None:
    rows = jacobian(1, 4)
    for given in (torch.cat([rows, -2 * rows]), torch.cat([1e-3 * rows, 1e3 * jacobian(1, 4, seed=1)])):
        assert bool(torch.isfinite(aligned_mtl().direction(given)).all())


def test_torchjd_agrees() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    for scale in ("min", "median", "rmse"):
        for n_tasks, size in [(2, 4), (4, 9), (6, 4)]:
            rows = jacobian(n_tasks, size, seed=n_tasks)
            expected = aggregation.AlignedMTL(scale_mode=scale)(rows)
            torch.testing.assert_close(aligned_mtl(scale).direction(rows), expected, **CLOSE)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="scale must be"):
        aligned_mtl("max")
    with pytest.raises(BalanceError, match="min_rel_eig"):
        aligned_mtl(min_rel_eig=1.0)
    with pytest.raises(BalanceError, match="2 numbers for 3 tasks"):
        aligned_mtl(preference=[1.0, 1.0]).weights(torch.eye(3))
    assert repr(aligned_mtl("rmse", preference=[1.0], min_rel_eig=0.1)) == (
        "chain(aligned_mtl('rmse', preference=[1.0], min_rel_eig=0.1))"
    )


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
def test_what_is_not_finite_goes_on_and_rounding_below_zero_is_dropped(scale: Literal["min", "median", "rmse"]) -> None:
    method = aligned_mtl(scale)
    assert bool(AlignedMTL(scale, None, None).weights(torch.full((3, 3), torch.nan)).isnan().all())
    below = torch.diag(torch.tensor([1.0, -1e-20, 0.0], dtype=torch.float64))
    torch.testing.assert_close(method.weights(below), torch.tensor([1 / 3, 0.0, 0.0], dtype=torch.float64))
