"""Trimmed mean: against its definition and TorchJD; absent tasks."""

from __future__ import annotations

import pytest
import torch

from taskloom._rng import torch_stream
from taskloom.balance.flow import Rows
from taskloom.balance.rows.trimmed_mean import TrimmedMean, trimmed_mean
from taskloom.errors import BalanceError

ROWS = torch.randn(6, 9, generator=torch_stream(0, "trimmed"), dtype=torch.float64)


@pytest.mark.parametrize("n_trim", [0, 1, 2])
def test_follows_the_definition(n_trim: int) -> None:
    expected = ROWS.sort(dim=0).values[n_trim : 6 - n_trim].mean(0)
    torch.testing.assert_close(trimmed_mean(n_trim).direction(ROWS), expected)
    torch.testing.assert_close(TrimmedMean(n_trim).combine(ROWS), expected)


def test_at_least_one_entry_is_left() -> None:
    torch.testing.assert_close(trimmed_mean(9).direction(ROWS[:3]), ROWS[:3].median(dim=0).values)
    torch.testing.assert_close(trimmed_mean(9).direction(ROWS[:2]), ROWS[:2].mean(0))
    assert torch.equal(trimmed_mean().direction(ROWS[:1]), ROWS[0])
    assert trimmed_mean().direction(torch.zeros(3, 2)).tolist() == [0.0, 0.0]


def test_absent_tasks_are_not_counted() -> None:
    masked = ROWS.clone()
    masked[4] = 0
    present = torch.arange(6) != 4
    found = trimmed_mean().combine(torch.zeros(6).double(), active=present, rows=Rows((masked,)))
    torch.testing.assert_close(found.direction, trimmed_mean().direction(ROWS[present]))


def test_torchjd_agrees() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    torch.testing.assert_close(trimmed_mean(2).direction(ROWS), aggregation.TrimmedMean(trim_number=2)(ROWS))


def test_bad_arguments_are_named() -> None:
    for wrong in (-1, 0.5, True):
        with pytest.raises(BalanceError, match="whole number"):
            trimmed_mean(wrong)
    assert repr(trimmed_mean(2)) == "chain(trimmed_mean(2))"
