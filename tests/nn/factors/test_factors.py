"""Factorisations of stacked weights: full rank is exact, errors are bounded, ranks follow the rule."""

from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn.factors import LAF, TensorTrain, Tucker

KINDS = {"laf": LAF, "tucker": Tucker, "tt": TensorTrain}


def stack(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def rebuilt(basis, vectors) -> torch.Tensor:
    return torch.tensordot(basis(), vectors.T, dims=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 5, 4), (3, 4, 2, 2, 5), (2, 2, 9)], ids=str)
def test_full_rank_reproduces_any_stack(kind, shape):
    weights = stack(*shape)
    torch.testing.assert_close(rebuilt(*KINDS[kind](rank=10_000).decompose(weights)), weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "rank", "expected"),
    [
        ("laf", 2, lambda d1, d2, k, r: r * (d1 * d2 + k)),
        ("tucker", 2, lambda d1, d2, k, r: r**3 + r * (d1 + d2 + k)),
        ("tt", 2, lambda d1, d2, k, r: d1 * r + r * d2 * r + r * k),
    ],
    ids=["laf", "tucker", "tt"],
)
def test_numbers_of_parameters(kind, rank, expected):
    basis, vectors = KINDS[kind](rank=rank).decompose(stack(6, 5, 4))
    assert sum(p.numel() for p in basis.parameters()) + vectors.numel() == expected(6, 5, 4, rank)


def test_the_error_of_tucker_is_bounded_by_what_is_left_out():
    weights = stack(6, 5, 4)
    error = (rebuilt(*Tucker(rank=(3, 2, 2)).decompose(weights)) - weights).norm() ** 2
    bound = sum(
        torch.linalg.svdvals(weights.movedim(mode, 0).flatten(1))[rank:].square().sum()
        for mode, rank in enumerate((3, 2, 2))
    )
    assert error <= bound


@pytest.mark.parametrize("kind", KINDS)
def test_a_relative_error_chooses_the_rank(kind):
    weights = torch.einsum("ar,br,kr->abk", stack(6, 2), stack(5, 2), stack(4, 2))  # rank 2
    basis, vectors = KINDS[kind](rank=1e-6).decompose(weights)
    assert vectors.shape == (4, 2)
    torch.testing.assert_close(rebuilt(basis, vectors), weights, rtol=0, atol=1e-10)
    noisy = weights + 1e-3 * stack(6, 5, 4)
    assert KINDS[kind](rank=0.05).decompose(noisy)[1].shape == (4, 2)


@pytest.mark.parametrize("rank", [0, -1, 1.5, (2, 0)], ids=str)
def test_ranks_that_make_no_sense(rank):
    with pytest.raises(TaskError, match="rank="):
        LAF(rank=rank)


def test_ranks_that_are_not_possible():
    with pytest.raises(TaskError, match="TT, cut 1: rank 9 exceeds 6"):
        TensorTrain(rank=(9, 2)).decompose(stack(6, 5, 4))
    with pytest.raises(TaskError, match=r"rank=\[2\] has 1 numbers, Tucker, axis 1 needs one more"):
        Tucker(rank=[2]).decompose(stack(6, 5, 4))


def test_a_stack_of_zeros_has_rank_one():
    basis, vectors = LAF(rank=0.1).decompose(torch.zeros(3, 2, 4))
    assert vectors.shape == (4, 1)
    assert not rebuilt(basis, vectors).any()
