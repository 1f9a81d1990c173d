from __future__ import annotations

import pytest
import torch

from taskloom.errors import TaskError
from taskloom.nn import mix
from taskloom.nn.gates.mix import mix_for_gates


@pytest.mark.parametrize("n_experts", [1, 3, 9])
@pytest.mark.parametrize("shape", [(4,), (2, 3), (64,), (2, 5, 5)], ids=str)
def test_mixtures(n_experts: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    experts = torch.randn(n_experts, 5, *shape, dtype=torch.float64)
    weights = torch.rand(3, 5, n_experts, dtype=torch.float64)
    expected = torch.einsum("nb...,gbn->gb...", experts, weights)
    torch.testing.assert_close(mix_for_gates(experts, weights), expected, rtol=1e-13, atol=1e-13)
    for own, one in zip(weights, expected, strict=True):
        torch.testing.assert_close(mix(experts, own), one, rtol=1e-13, atol=1e-13)
        assert torch.equal(mix(list(experts), own), mix(experts, own))


def test_one_row() -> None:
    assert mix(torch.ones(2, 1, 3), torch.tensor([[0.5, 0.25]])).tolist() == [[0.75, 0.75, 0.75]]


def test_an_expert_without_weight_changes_no_bit() -> None:
    torch.manual_seed(0)
    experts, weights = torch.randn(6, 40, 7), torch.rand(40, 6)
    weights[:, [0, 3]] = 0
    kept = [1, 2, 4, 5]
    assert torch.equal(mix(experts, weights), mix(experts[kept], weights[:, kept]))


@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (3,)], ids=str)
def test_bad_weights(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match="3 experts of 5 rows need weights of shape"):
        mix(torch.zeros(3, 5, 2), torch.zeros(shape))
