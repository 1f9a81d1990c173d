"""measure(): the conflict report."""

from __future__ import annotations

import math

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor

from taskloom.engine.measure import Measurement, measure
from taskloom.errors import EngineError


def test_numbers(network: TwoHeads, inputs: Tensor) -> None:
    losses = network.losses(inputs)
    found = measure(losses, shared=network)
    assert found.tasks == ("a", "b", "c")
    rows = [
        torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, network.shared_parameters(), retain_graph=True)])
        for loss in losses.values()
    ]
    for i, one in enumerate(rows):
        assert float(found.norms[i]) == pytest.approx(float(one.norm()))
        for j, other in enumerate(rows):
            assert float(found.cosines[i, j]) == pytest.approx(
                float(torch.nn.functional.cosine_similarity(one, other, dim=0))
            )
            expected = 2 * float(one.norm() * other.norm()) / float(one.norm() ** 2 + other.norm() ** 2)
            assert float(found.magnitude_similarity[i, j]) == pytest.approx(expected)
    negative = sum(float(rows[i] @ rows[j]) < 0 for i in range(3) for j in range(i))
    assert found.conflict_share == pytest.approx(negative / 3)
    assert all(parameter.grad is None for parameter in network.parameters())
    torch.stack(list(losses.values())).sum().backward()  # the graph is still there


def test_zero_gradients_and_single_tasks() -> None:
    found = Measurement(("a", "b"), torch.zeros(2), torch.tensor([[0.0, 0.0], [0.0, 4.0]]))
    assert found.cosines.tolist() == [[0, 0], [0, 1]]
    assert found.magnitude_similarity.tolist() == [[0, 0], [0, 1]]
    assert found.conflict_share == 0
    assert Measurement(("a",), torch.zeros(1), torch.ones(1, 1)).conflict_share == 0


def test_text_shows_the_names() -> None:
    text = Measurement(("price", "가격"), torch.zeros(2), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).text()
    assert "price" in text
    assert "-1.00" in text


def test_not_finite_gradients_are_named(network: TwoHeads, inputs: Tensor) -> None:
    z = network.trunk(inputs)
    with pytest.raises(EngineError, match=r"gradients of the tasks \['b'\]"):
        measure({"a": z.mean(), "b": z.mean() * math.inf}, shared=network)
