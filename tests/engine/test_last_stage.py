"""Weights from some of the shared parameters; the direction of all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from tests.engine.layer_networks import jacobian
from torch import Tensor, nn

import taskloom as tl
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.combine import balance
from taskloom.engine.last_stage import LastStageEngine
from taskloom.engine.sketch import SketchedEngine
from taskloom.errors import EngineError


@pytest.mark.parametrize("inside", [None, AutogradEngine()], ids=["layers", "autograd"])
def test_inner_products_of_the_stage_and_the_direction_of_all(network: TwoHeads, inputs: Tensor, inside: Any) -> None:
    losses, parameters = [*network.losses(inputs).values()], network.shared_parameters()
    stage = network.trunk[2]
    engine = LastStageEngine(stage, inside)
    rows = engine.rows(losses, parameters)
    of_stage, of_all = jacobian(losses, [*stage.parameters()]), jacobian(losses, parameters)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(rows.gramian(), of_stage @ of_stage.T)
    torch.testing.assert_close(engine.gramian(losses, parameters), of_stage @ of_stage.T)
    torch.testing.assert_close(torch.cat(rows.combine(weights)), of_all.T @ weights)
    torch.testing.assert_close(rows.divided(2.0).gramian(), of_stage @ of_stage.T / 4)
    torch.testing.assert_close(torch.cat(rows.divided(2.0).combine(weights)), of_all.T @ weights / 2)


@pytest.mark.parametrize("heads", ["weighted", "unweighted"])
def test_a_step(network: TwoHeads, inputs: Tensor, heads: Any) -> None:
    stage = network.trunk[2]
    of_stage = jacobian([*network.losses(inputs).values()], [*stage.parameters()])
    weights = dict(zip(network.tasks, tl.mgda().weights(of_stage @ of_stage.T).tolist(), strict=True))
    engine = LastStageEngine(stage.parameters())
    balance(
        network.losses(inputs), tl.mgda(), shared=network, engine=engine, head_gradient=heads, verify="always"
    ).backward()
    expected = network.expected(inputs, weights, weights if heads == "weighted" else dict.fromkeys(weights, 1.0))
    for name, gradient in network.gradients().items():
        if gradient is not None:
            torch.testing.assert_close(gradient, expected[name])


def test_a_shared_parameter_that_one_task_alone_reaches_keeps_its_weight() -> None:
    torch.manual_seed(0)
    first, last, only = nn.Linear(3, 4).double(), nn.Linear(4, 2).double(), nn.Linear(4, 2).double()
    z = torch.tanh(first(torch.randn(9, 3, dtype=torch.float64)))
    losses = {"a": (last(z) + only(z)).square().mean(), "b": (last(z) - 1).square().mean()}
    shared = [*first.parameters(), *last.parameters(), *only.parameters()]
    rows = LastStageEngine(last).rows([*losses.values()], shared)
    assert not set(rows.heads) & {id(one) for one in shared}
    found = rows.gradients(torch.tensor([3.0, 1.0]))
    expected = torch.autograd.grad(losses["a"], [*only.parameters()], retain_graph=True)
    for one, other in zip(found[-2:], expected, strict=True):
        torch.testing.assert_close(one, 3 * other)


def test_an_absent_task_has_a_zero_row(network: TwoHeads, inputs: Tensor) -> None:
    losses: list[Tensor | None] = [*network.losses(inputs).values()]
    losses[1] = None
    rows = LastStageEngine(network.trunk[2]).rows(losses, network.shared_parameters())
    assert rows.gramian()[1].abs().max() == 0
    expected = jacobian(losses, network.shared_parameters()).sum(0)
    torch.testing.assert_close(torch.cat(rows.combine(torch.ones(3))), expected)


def test_engines_go_into_each_other() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(10, 80), nn.Tanh(), nn.Linear(80, 20), nn.Tanh())
    z = trunk(torch.randn(200, 10))
    inside = SketchedEngine(8, precision=torch.float32, tolerance=None)
    engine = LastStageEngine(trunk[2], inside)
    found = engine.gramian([z.mean(), z.square().mean()], [*trunk.parameters()])
    exact = LastStageEngine(trunk[2]).gramian([z.mean(), z.square().mean()], [*trunk.parameters()])
    assert inside.last.error
    assert 0 < float((found - exact).abs().max() / exact.abs().max()) < 0.5


def test_cost_counts_the_stage(network: TwoHeads) -> None:
    stage = network.trunk[2]
    size = 3 * sum(one.numel() * one.element_size() for one in stage.parameters())
    found = LastStageEngine(stage).cost(network.shared_parameters(), 3)
    assert (found.backward_passes, found.bytes) == (1, size)


def test_a_stage_that_is_not_shared(network: TwoHeads, inputs: Tensor) -> None:
    with pytest.raises(EngineError, match="none of the 2 parameters of the stage is among the 3 shared parameters"):
        balance(network.losses(inputs), tl.pcgrad(), shared=network, engine=LastStageEngine(network.heads[0]))


@pytest.mark.parametrize("stage", [[], nn.ReLU(), torch.ones(2, requires_grad=True)], ids=["empty", "bare", "tensor"])
def test_a_stage_without_parameters(stage: Any) -> None:
    with pytest.raises(EngineError):
        LastStageEngine(stage)


def test_rows_are_refused(network: TwoHeads, inputs: Tensor) -> None:
    with pytest.raises(EngineError, match="LastStageEngine keeps their inner products only"):
        balance(network.losses(inputs), tl.graddrop(), shared=network, engine=LastStageEngine(network.trunk[2]))
