from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from taskloom.errors import TaskError
from taskloom.nn import DSelectKGate, Gate


def smooth_step(t: float, gamma: float) -> float:
    if t <= -gamma / 2:
        return 0.0
    if t >= gamma / 2:
        return 1.0
    return -2 / gamma**3 * t**3 + 3 / (2 * gamma) * t + 0.5


def by_hand(scores: list[float], *, k: int, n_experts: int, gamma: float) -> list[float]:
    """The equations of the specification, number by number."""
    n_bits = math.ceil(math.log2(n_experts))
    shares = torch.tensor(scores[-k:], dtype=torch.float64).softmax(0).tolist()
    weights = [0.0] * n_experts
    for i in range(k):
        bits = scores[i * n_bits : (i + 1) * n_bits]
        for expert in range(n_experts):
            product = 1.0
            for place, z in enumerate(bits):
                is_one = expert >> (n_bits - 1 - place) & 1
                product *= smooth_step(z, gamma) if is_one else 1 - smooth_step(z, gamma)
            weights[expert] += shares[i] * product
    return weights


def weigh(rule: DSelectKGate, scores: Tensor, n_experts: int) -> Tensor:
    return rule.weigh(scores, rule.constants(n_experts), training=True)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("n_experts", [1, 2, 3, 5, 8])
def test_equations(n_experts: int, gamma: float) -> None:
    k = min(2, n_experts)
    rule = DSelectKGate(k=k, gamma=gamma)
    torch.manual_seed(0)
    scores = torch.randn(6, rule.n_scores(n_experts), dtype=torch.float64)
    expected = [by_hand(row, k=k, n_experts=n_experts, gamma=gamma) for row in scores.tolist()]
    torch.testing.assert_close(weigh(rule, scores, n_experts), torch.tensor(expected, dtype=torch.float64))


def test_gamma_is_used() -> None:
    scores = torch.tensor([[0.2, 0.1, 0.0]], dtype=torch.float64)
    found = [weigh(DSelectKGate(k=1, gamma=gamma), scores, 4) for gamma in (0.5, 1.0, 4.0)]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


@pytest.mark.parametrize("n_experts", [1, 2, 4, 8])
def test_sums_to_one_for_powers_of_two(n_experts: int) -> None:
    rule = DSelectKGate(k=1 if n_experts == 1 else 2)
    scores = torch.randn(50, rule.n_scores(n_experts), dtype=torch.float64)
    torch.testing.assert_close(
        weigh(rule, scores, n_experts).sum(1), torch.ones(50, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("n_experts", [3, 4, 6, 8])
def test_saturated_gates_have_at_most_k_experts(n_experts: int) -> None:
    rule = DSelectKGate(k=2)
    scores = torch.randn(50, rule.n_scores(n_experts)).sign() * 0.5
    assert ((weigh(rule, scores, n_experts) > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("n_experts", [3, 5, 6])
@pytest.mark.parametrize("value", [-3.0, 0.0, 0.1, 3.0])  # 3: every selector sits on a number that no expert has
def test_finite_where_numbers_are_missing(n_experts: int, value: float) -> None:
    rule = DSelectKGate(k=2, entropy=0.1)
    scores = torch.full((4, rule.n_scores(n_experts)), value, dtype=torch.float64, requires_grad=True)
    weights = weigh(rule, scores, n_experts)
    penalties = rule.penalties(scores, weights, rule.constants(n_experts))
    total = sum(penalties.values()) + weights.square().sum()
    (gradient,) = torch.autograd.grad(total, scores)
    assert list(penalties) == ["gate_entropy", "gate_missing"]
    assert torch.isfinite(total)
    assert torch.isfinite(gradient).all()


def test_penalties_by_hand() -> None:
    rule = DSelectKGate(k=2, entropy=0.5, missing=0.25)
    scores = torch.randn(7, rule.n_scores(3), dtype=torch.float64)
    entropy = missing = 0.0
    for row in scores.tolist():
        for i in range(2):
            own = [*row[2 * i : 2 * i + 2], 0.0]
            r = by_hand(own, k=1, n_experts=3, gamma=1.0)
            entropy -= sum(x * math.log(x + 1e-6) for x in r) / 7
            missing += 1 / max(sum(r), 1e-6) / 7
    found = rule.penalties(scores, scores, rule.constants(3))
    assert found["gate_entropy"].item() == pytest.approx(0.5 * entropy, rel=1e-12)
    assert found["gate_missing"].item() == pytest.approx(0.25 * missing, rel=1e-12)
    assert list(rule.penalties(torch.randn(2, rule.n_scores(4)), scores, rule.constants(4))) == ["gate_entropy"]


def test_initial_values_and_parameter_count() -> None:
    torch.manual_seed(0)
    gate = Gate(50, 8, rule=DSelectKGate(k=3, gamma=2.0))
    for part in (gate.weight, gate.bias):
        bits, shares = part[:-3].abs().max().item(), part[-3:].abs().max().item()
        assert 0 < bits <= 0.02
        assert 0 < shares <= 0.05
    assert gate.weight.abs().max() > 0.045
    assert sum(parameter.numel() for parameter in gate.parameters()) == 51 * 3 * (3 + 1)
    static = Gate(50, 8, rule=DSelectKGate(k=3, reads_input=False))
    assert sum(parameter.numel() for parameter in static.parameters()) == 3 * (3 + 1)


def test_static_penalties_need_no_batch() -> None:
    gate = Gate(2, 3, rule=DSelectKGate(reads_input=False, entropy=1.0))
    before = gate.penalties()
    gate(torch.zeros(5, 2))
    assert before.keys() == gate.penalties().keys() == {"gate_entropy", "gate_missing"}
    assert all(torch.equal(value, gate.penalties()[name]) for name, value in before.items())
    assert not gate.keeps_graph


def test_the_gradient_finds_the_expert() -> None:
    """One selector, started near the middle, ends at the expert that fits, and nothing else is left."""
    torch.manual_seed(1)
    gate = Gate(1, 6, rule=DSelectKGate(k=1, reads_input=False, entropy=1e-2))
    targets = torch.tensor([1.0, 2.0, 2.0, 3.0, 0.0, 1.0])  # by how many bits an expert's number differs from 4
    optimiser = torch.optim.Adam(gate.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        ((gate(torch.zeros(1, 1)) * targets).sum() + 2 * sum(gate.penalties().values())).backward()
        optimiser.step()
    assert torch.equal(gate.static_weights(), torch.eye(6)[4])


@pytest.mark.parametrize("setting", [{"k": 0}, {"gamma": 0.0}, {"gamma": -1.0}, {"entropy": -1.0}], ids=str)
def test_bad_settings(setting: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="DSelectKGate"):
        DSelectKGate(**setting)
    with pytest.raises(TaskError, match=r"k=5\) must choose from 4 experts; k lies in 1..4"):
        Gate(2, 4, rule=DSelectKGate(k=5))
