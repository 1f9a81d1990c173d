"""Random networks: replay in full precision and piece by piece give the Gramian and direction of the Jacobian."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.layer_networks import jacobian
from tests.engine.test_layers_property import SPACE, WIDTH, Network, steps
from torch import Tensor

from taskloom.engine import lean
from taskloom.engine.lean import LeanEngine
from taskloom.engine.low_precision import LowPrecisionEngine
from taskloom.engine.replay import measure


def step_of(network_steps: list[tuple[str, int, int, int]], seed: int) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(seed)
    network, n = Network(network_steps).double(), 8
    z = network(torch.randn(n, WIDTH, SPACE, dtype=torch.float64), torch.randint(0, 7, (n, WIDTH)))[-1]
    z = z if z.requires_grad else z @ network.weight
    heads = torch.randn(3, SPACE, dtype=torch.float64)
    losses = [((z @ head) - task).square().mean() for task, head in enumerate(heads)]
    return losses, [*network.parameters()]


def assert_equal_to_the_jacobian(engine: Any, losses: list[Tensor], parameters: list[Tensor]) -> None:
    expected = jacobian([*losses], parameters)
    rows = engine.rows(losses, parameters)
    weights = torch.randn(len(losses), dtype=torch.float64)
    direction = [
        torch.zeros_like(one) if found is None else found
        for found, one in zip(rows.gradients(weights), parameters, strict=True)
    ]
    for found, exact in (
        (rows.gramian(), expected @ expected.T),
        (torch.cat([one.reshape(-1) for one in direction]), expected.T @ weights),
    ):
        assert float((found - exact).abs().max()) <= 1e-11 * max(float(exact.abs().max()), 1e-300)


@settings(max_examples=60, deadline=None)
@given(steps=steps, seed=st.integers(0, 1000), together=st.sampled_from([1, 2, 3]))
def test_replay(steps: list[tuple[str, int, int, int]], seed: int, together: int) -> None:
    with patch.object(measure, "_together", lambda *_: together):
        assert_equal_to_the_jacobian(LowPrecisionEngine(torch.float64), *step_of(steps, seed))


@settings(max_examples=60, deadline=None)
@given(steps=steps, seed=st.integers(0, 1000), is_merged=st.booleans())
def test_pieces(steps: list[tuple[str, int, int, int]], seed: int, is_merged: bool) -> None:
    kept = lean._merged if is_merged else lambda shares, *_: shares
    with patch.object(lean, "_WORTH_IT", float("inf")), patch.object(lean, "_merged", kept):
        assert_equal_to_the_jacobian(LeanEngine(), *step_of(steps, seed))
