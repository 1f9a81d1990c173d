"""The layer engine gives the Gramian and the direction of the explicit Jacobian, whatever the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.layer_networks import CASES, heads_for, jacobian, masked_losses
from torch import Tensor, nn

from taskloom.engine.layers.engine import LayerEngine

ENGINES: dict[str, dict[str, Any]] = {
    "auto": {},
    "form, one by one": {"rule": "form", "batching": "never"},
    "ghost, one by one": {"rule": "ghost", "batching": "never"},
    "form, together": {"rule": "form", "batching": "always"},
    "ghost, together": {"rule": "ghost", "batching": "always"},
    "form, three": {"rule": "form", "batching": 3},
    "ghost, two": {"rule": "ghost", "batching": 2},
    "no rules": {"rule": "parameters"},
}


def assert_exact(engine: LayerEngine, losses: list[Any], parameters: list[Tensor]) -> Any:
    """Gramian, direction, rows and head gradients against those of autograd."""
    expected = jacobian(losses, parameters)
    rows = engine.rows(losses, parameters)
    weights = torch.randn(len(losses), dtype=torch.float64)
    gramian, direction = expected @ expected.T, expected.T @ weights
    found = rows.gradients(weights)
    flat = torch.cat(
        [
            parameter.new_zeros(parameter.numel()) if one is None else one.reshape(-1)
            for one, parameter in zip(found, parameters, strict=True)
        ]
    )
    close(rows.gramian(), gramian)
    close(flat, direction)
    close(rows.matrix(), expected)
    close(torch.cat(rows.combine(weights)), direction)
    close(engine.gramian(losses, parameters), gramian)
    for leaf in rows.leaves or ():
        if id(leaf) in rows.heads:
            task, gradient = rows.heads[id(leaf)]
            for other, loss in enumerate(losses):
                (own,) = torch.autograd.grad(loss, [leaf], retain_graph=True, allow_unused=True)
                if other == task:
                    close(gradient, own)
                else:
                    assert own is None or not own.any()
    return rows


def close(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    error = float((found - expected).abs().max()) if expected.numel() else 0.0
    assert error <= 1e-12 * max(scale, 1e-300), f"relative error {error / max(scale, 1e-300):.1e}"


@pytest.mark.parametrize("options", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_jacobian(name: str, options: str) -> None:
    torch.manual_seed(0)
    case = CASES[name]
    trunk, inputs, heads = case.make().double(), case.inputs(), heads_for(case.width)
    features = trunk(inputs)
    losses = masked_losses(heads, [features] * len(heads))
    parameters = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    assert_exact(LayerEngine(**ENGINES[options]), losses, parameters)
    assert all(parameter.grad is None for parameter in trunk.parameters())
    torch.stack(losses).sum().backward()  # the graph is still there
    assert isinstance(trunk, nn.Module)
