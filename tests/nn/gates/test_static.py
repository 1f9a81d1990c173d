from __future__ import annotations

import torch

from taskloom.nn import Gate, StaticGate


def test_one_number_per_expert() -> None:
    gate = Gate(7, 3, rule=StaticGate(temperature=2.0))
    assert [tuple(parameter.shape) for parameter in gate.parameters()] == [(3,)]
    with torch.no_grad():
        gate.bias.copy_(torch.tensor([0.0, 2.0, 4.0]))
    found = gate(torch.randn(2, 7))
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0, 2.0]).softmax(0))
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(gate.last_weights, found[0].detach())
