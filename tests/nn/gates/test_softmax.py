from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.errors import TaskError
from taskloom.nn import Gate, SoftmaxGate


def test_temperature() -> None:
    scores = torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64)
    found = SoftmaxGate(temperature=2.0).weigh(scores, {}, training=True)
    torch.testing.assert_close(found, (scores / 2).softmax(1))


def test_zero_start_is_the_mean() -> None:
    gate = Gate(4, 5, rule=SoftmaxGate(zero_start=True))
    assert torch.equal(gate(torch.randn(3, 4)), torch.full((3, 5), 0.2))


@settings(max_examples=30, deadline=None)
@given(dropout=st.floats(0, 0.95), n_experts=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_dropout_scales_the_others_up(dropout: float, n_experts: int, seed: int) -> None:
    torch.manual_seed(seed)
    scores = 5 * torch.randn(40, n_experts, dtype=torch.float64)
    rule = SoftmaxGate(dropout=dropout)
    found, full = rule.weigh(scores, {}, training=True), scores.softmax(1)
    torch.testing.assert_close(found.sum(1), torch.ones(40, dtype=torch.float64))
    kept = found > 0
    expected = torch.where(kept, full, torch.zeros(()).double())
    torch.testing.assert_close(found, expected / expected.sum(1, keepdim=True))
    assert torch.equal(rule.weigh(scores, {}, training=False), full)


def test_dropout_rate() -> None:
    torch.manual_seed(0)
    found = SoftmaxGate(dropout=0.3).weigh(torch.zeros(20_000, 4), {}, training=True)
    n_kept = (found > 0).float().sum(1)
    expected = 4 * 0.7 + 4 * 0.3**4  # where all would be dropped, none is
    assert abs(n_kept.mean().item() - expected) < 0.02
    assert SoftmaxGate(dropout=0.3).draws
    assert not SoftmaxGate().draws


@pytest.mark.parametrize("setting", [{"temperature": 0.0}, {"dropout": 1.0}, {"dropout": -0.1}], ids=str)
def test_bad_settings(setting: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="of SoftmaxGate must"):
        SoftmaxGate(**setting)
