from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from taskloom.errors import TaskError
from taskloom.nn import Gate, TopKGate


def test_softmax_over_the_k_largest() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.5, -1.0]], dtype=torch.float64)
    found = TopKGate(k=2, noise=False).weigh(scores, {}, training=True)
    expected = torch.zeros_like(scores)
    expected[0, [0, 2]] = torch.tensor([3.0, 2.0], dtype=torch.float64).softmax(0)
    expected[1, [1, 2]] = torch.tensor([5.0, 5.5], dtype=torch.float64).softmax(0)
    torch.testing.assert_close(found, expected)


def test_noise_in_training_only() -> None:
    torch.manual_seed(0)
    rule = TopKGate(k=4)
    scores = torch.cat([torch.zeros(50_000, 4), torch.tensor([-5.0, 0.0, 1.0, 2.0]).expand(50_000, 4)], 1)
    weights = rule.weigh(scores, {}, training=True)
    noise = weights.log() - weights.log()[:, :1]  # e_i softplus(s_i) - e_0 softplus(s_0)
    spread = F.softplus(torch.tensor([-5.0, 0.0, 1.0, 2.0]))
    expected = (spread[1:].square() + spread[0].square()).sqrt()
    torch.testing.assert_close(noise[:, 1:].std(0), expected, rtol=0.02, atol=0)
    assert torch.equal(rule.weigh(scores, {}, training=False), torch.full((50_000, 4), 0.25))


def test_balance_penalty() -> None:
    rule = TopKGate(k=2, noise=False, balance=0.5)
    scores = torch.zeros(3, 3, dtype=torch.float64)
    weights = torch.eye(3, dtype=torch.float64)[[0, 0, 1]]  # importance 2, 1, 0: mean 1, variance 2/3
    assert rule.penalties(scores, weights, {})["gate_balance"].item() == pytest.approx(0.5 * 2 / 3)
    even = torch.eye(3, dtype=torch.float64)
    assert rule.penalties(scores, even, {})["gate_balance"].item() == 0
    assert not TopKGate(balance=0.0).has_penalties


def test_the_balance_spreads_the_rows() -> None:
    torch.manual_seed(0)
    gate = Gate(3, 4, rule=TopKGate(k=2, balance=1.0))
    rows = torch.randn(64, 3) + 2
    optimiser = torch.optim.Adam(gate.parameters(), lr=0.02)
    found = []
    for _ in range(200):
        gate.forget()
        gate(rows)
        penalty = sum(gate.penalties().values())
        found.append(penalty.item())
        optimiser.zero_grad()
        penalty.backward()
        optimiser.step()
    assert sum(found[-20:]) < 0.5 * sum(found[:20])


def test_start() -> None:
    gate = Gate(3, 4, rule=TopKGate(zero_start=True))
    assert not gate.weight.any()
    assert gate.weight.shape == (8, 3)
    assert Gate(3, 4, rule=TopKGate(noise=False)).weight.shape == (4, 3)


@pytest.mark.parametrize("setting", [{"k": 1}, {"balance": -1.0}, {"noise": False, "zero_start": True}], ids=str)
def test_bad_settings(setting: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="TopKGate"):
        TopKGate(**setting)
