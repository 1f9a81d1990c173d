"""Krum: against TorchJD, ties, absent tasks."""

from __future__ import annotations

import pytest
import torch

from taskloom._rng import torch_stream
from taskloom.balance.reduce.krum import Krum, krum
from taskloom.errors import BalanceError

ROWS = torch.randn(7, 5, generator=torch_stream(0, "krum"), dtype=torch.float64)


def test_torchjd_agrees() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    for n_byzantine, n_selected in [(0, 1), (1, 1), (2, 3), (4, 7)]:
        expected = aggregation.Krum(n_byzantine=n_byzantine, n_selected=n_selected)(ROWS)
        torch.testing.assert_close(krum(n_byzantine, n_selected).direction(ROWS), expected)


def test_an_outlier_is_dropped() -> None:
    rows = ROWS.clone()
    rows[:6] = rows[0] + 0.1 * rows[:6]
    weights = krum(1, 6).weights(rows @ rows.T)
    torch.testing.assert_close(weights, torch.tensor([1 / 6] * 6 + [0.0], dtype=torch.float64))


def test_ties_are_shared() -> None:
    assert krum().weights(torch.eye(3)).tolist() == pytest.approx([1 / 3] * 3)
    assert krum().weights(torch.zeros(2, 2)).tolist() == [0.5, 0.5]
    assert krum().weights(torch.tensor([[4.0]])).tolist() == [1.0]


def test_absent_tasks_are_no_neighbours() -> None:
    masked = ROWS.clone()
    masked[3] = 0
    present = torch.arange(7) != 3
    found = krum(1, 2).combine(torch.zeros(7).double(), masked @ masked.T, active=present).weights
    torch.testing.assert_close(found[present], krum(1, 2).weights(ROWS[present] @ ROWS[present].T))
    assert float(found[3]) == 0


def test_bad_arguments_are_named() -> None:
    for wrong in ({"n_byzantine": -1}, {"n_selected": 0}, {"n_selected": True}):
        with pytest.raises(BalanceError, match=next(iter(wrong))):
            krum(**wrong)
    assert repr(krum(1, 2)) == "chain(krum(1, 2))"
    torch.testing.assert_close(Krum(1, 2).weights(ROWS @ ROWS.T), krum(1, 2).weights(ROWS @ ROWS.T))
