"""Piece by piece: the same inner products and direction as the exact engine, in less memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.engine.layer_networks import CASES, heads_for, jacobian, masked_losses
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import taskloom as tl
from taskloom.engine import lean
from taskloom.engine._passing import pieces_of
from taskloom.engine.combine import balance
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.frontier import find_frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.lean import LeanEngine
from taskloom.errors import EngineError


def flat(gradients: Any, parameters: list[Tensor]) -> Tensor:
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(one) if found is None else found).reshape(-1) for found, one in pairs])


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).abs().max()) <= 1e-12 * float(expected.abs().max())


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.out, self.back = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.back(torch.relu(self.out(self.norm(x))))
        return result


def deep(width: int = 64, n_blocks: int = 6) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, width), *(Block(width) for _ in range(n_blocks)))


def losses_of(trunk: nn.Module, width: int, n_tasks: int = 4) -> list[Tensor]:
    dtype = next(trunk.parameters()).dtype
    z = trunk(torch.randn(100, 10, dtype=dtype))
    heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(n_tasks)).to(dtype)
    return [(head(z) - task).square().mean() for task, head in enumerate(heads)]


def peak(work: Callable[[], object]) -> int:
    """Largest number of bytes that are alive at once while something runs, of those allocated by it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = work()
    del kept
    alive = most = 0
    for event in record.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    return most


@pytest.mark.parametrize("is_merged", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_equal_to_the_jacobian(name: str, is_merged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "_WORTH_IT", float("inf"))
    if not is_merged:
        monkeypatch.setattr(lean, "_merged", lambda shares, *_: shares)
    torch.manual_seed(0)
    case = CASES[name]
    trunk, inputs, heads = case.make().double(), case.inputs(), heads_for(case.width)
    losses = masked_losses(heads, [trunk(inputs)] * len(heads))
    parameters = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    expected = jacobian(losses, parameters)
    engine = LeanEngine()
    rows = engine.rows(losses, parameters)
    weights = torch.randn(len(losses), dtype=torch.float64)
    assert_near(rows.gramian(), expected @ expected.T)
    assert_near(flat(rows.gradients(weights), parameters), expected.T @ weights)
    assert_near(engine.gramian(losses, parameters), expected @ expected.T)
    if name in ("mlp", "keyword and weight norm", "odd embeddings", "by hand") and not is_merged:
        assert engine.n_pieces > 1
    torch.stack(losses).sum().backward()  # the graph is still there


def test_less_memory() -> None:
    trunk = deep()
    losses, parameters = losses_of(trunk, 64), [*trunk.parameters()]
    size = sum(parameter.numel() * parameter.element_size() for parameter in parameters)
    engine = LeanEngine()
    found = {kind: peak(lambda kind=kind: kind().gramian(losses, parameters)) for kind in (LayerEngine, LeanEngine)}
    engine.rows(losses, parameters)
    assert engine.n_pieces >= 6
    assert found[LayerEngine] > len(losses) * size  # every task gradient
    assert found[LeanEngine] < 0.5 * found[LayerEngine]


def test_nothing_is_kept_between_steps() -> None:
    trunk = deep()
    parameters = [*trunk.parameters()]
    engine = LeanEngine()
    losses = losses_of(trunk, 64)
    engine.gramian(losses, parameters)
    assert engine._whole._pool._free == []


def test_a_step_is_that_of_the_exact_engine() -> None:
    found = []
    for engine in (LeanEngine(), LayerEngine()):
        trunk = deep().double()
        losses = {f"t{k}": loss for k, loss in enumerate(losses_of(trunk, 64))}
        balance(losses, tl.upgrad(), shared=trunk, engine=engine, verify="always").backward()
        found.append(torch.cat([one.grad.reshape(-1) for one in trunk.parameters() if one.grad is not None]))
    assert_near(found[0], found[1])


def test_where_pieces_save_nothing_the_whole_is_measured() -> None:
    trunk = nn.Sequential(nn.Linear(10, 64))
    engine = LeanEngine()
    engine.rows(losses_of(trunk, 64), [*trunk.parameters()])
    assert engine.n_pieces == 1


def test_pieces_of_residual_blocks() -> None:
    trunk = deep(n_blocks=3)
    graph = Graph(losses_of(trunk, 64))
    targets = [graph.accumulators[id(one)] for one in trunk.parameters()]
    frontier = find_frontier(graph, targets)
    assert frontier is not None
    wanted = graph.leading_to(targets)
    pieces = pieces_of(graph, frontier, wanted)
    assert pieces[0].entries == frontier.edges
    assert all(piece.entries == (before.exit,) for before, piece in itertools.pairwise(pieces))
    assert pieces[-1].exit is None
    assert {node for piece in pieces for node in piece.nodes} == {
        node for node in wanted if node in frontier.behind or node in targets
    }
    assert sum(len(piece.nodes) for piece in pieces) == len({node for piece in pieces for node in piece.nodes})
    between = [piece.exit[0].name() for piece in pieces if piece.exit is not None]
    assert between.count("AddBackward0") == 2  # between the blocks; the first is where heads end


def test_a_weight_that_is_used_in_two_places_keeps_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "_WORTH_IT", float("inf"))
    monkeypatch.setattr(lean, "_merged", lambda shares, *_: shares)

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.again, self.between = nn.Linear(10, 10), nn.Linear(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(3):
                x = torch.tanh(self.between(torch.tanh(self.again(x))))
            return x

    trunk = nn.Sequential(nn.Linear(10, 10), Shared(), nn.Linear(10, 64)).double()
    losses, parameters = losses_of(trunk, 64), [*trunk.parameters()]
    plan = lean._plan(Graph(losses), parameters)
    assert plan is not None
    found = [share for share in plan.shares if any(len(layer.calls) > 1 for layer in share.layers)]
    assert len(found) == 1
    assert len(found[0].layers) == 2
    assert all(call.node in found[0].piece.nodes for layer in found[0].layers for call in layer.calls)
    assert len(plan.shares) > 2
    engine, expected = LeanEngine(), jacobian(losses, parameters)
    assert_near(engine.gramian(losses, parameters), expected @ expected.T)


def test_rows_are_refused_and_a_freed_graph_explained() -> None:
    trunk = deep()
    losses, parameters = losses_of(trunk, 64), [*trunk.parameters()]
    with pytest.raises(EngineError, match="LeanEngine keeps their inner products only"):
        LeanEngine().rows(losses, parameters).matrix()
    torch.stack(losses).sum().backward()
    with pytest.raises(EngineError, match="freed"):
        LeanEngine().rows(losses, parameters)
