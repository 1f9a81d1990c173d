"""Thin networks: rows that span the others, exact linear chains, convolutions with norms, errors."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from taskloom.errors import TaskError
from taskloom.nn import spanning_rows, thin_chain


def test_rows_that_span_the_others_are_chosen():
    torch.manual_seed(0)
    basis = torch.randn(3, 8, dtype=torch.float64)
    weight = torch.cat([basis, torch.randn(5, 3, dtype=torch.float64) @ basis])[torch.randperm(8)]
    rows, mix = spanning_rows(weight, 8)
    assert len(rows) == 3
    torch.testing.assert_close(mix @ weight[rows], weight, rtol=0, atol=1e-10)


def test_more_rows_leave_less_over():
    weight = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    left = []
    for count in range(1, 9):
        rows, mix = spanning_rows(weight, count)
        assert len(set(rows)) == count
        left.append(float((weight - mix @ weight[rows]).norm()))
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(left))
    assert left[-1] < 1e-10


def test_thin_linear_chains_of_low_rank_are_exact():
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Linear(6, 10, bias=False), nn.Linear(10, 4)).double()
    with torch.no_grad():
        chain[0].weight.copy_(torch.randn(10, 3).double() @ torch.randn(3, 6).double())
    thin = thin_chain(chain, 5)
    assert thin[0].out_features == 3
    inputs = torch.randn(5, 6, dtype=torch.float64)
    torch.testing.assert_close(thin(inputs), chain(inputs), rtol=0, atol=1e-10)


def test_convolutions_with_norms():
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3))
    wide(torch.randn(4, 3, 9, 9))
    thin = thin_chain(wide, 4).eval()
    assert thin(torch.zeros(1, 3, 9, 9)).shape == (1, 5, 5, 5)
    assert thin[1].num_features == 4
    rows = [int((wide[0].weight == row).flatten(1).all(1).nonzero()[0, 0]) for row in thin[0].weight]
    assert torch.equal(thin[1].running_mean, wide[1].running_mean[rows])


@pytest.mark.parametrize(
    ("part", "message"),
    [(nn.LSTM(3, 4), "LSTM cannot be thinned"), (nn.Conv2d(4, 4, 3, groups=2), "with groups cannot be thinned")],
    ids=["lstm", "groups"],
)
def test_what_cannot_be_thinned(part, message):
    with pytest.raises(TaskError, match=message):
        thin_chain(nn.Sequential(part), 2)
