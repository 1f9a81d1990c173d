"""Linear layers: kernels in blocks of rows, and the estimates that choose between the rules."""

from __future__ import annotations

import pytest
import torch
from tests.engine.test_layers_exact import assert_exact, close
from torch import Tensor, nn

from taskloom.engine.layers import linear
from taskloom.engine.layers.costs import ghost_is_cheaper, of_layer
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.linear import blocks_of_rows
from taskloom.engine.layers.proofs import Layer

CPU = torch.device("cpu")


@pytest.mark.parametrize("n_rows", [1, 63, 64, 127, 128, 200, 1000, 5000])
def test_blocks_cover_every_row_once(n_rows: int) -> None:
    blocks = blocks_of_rows(n_rows, CPU)
    assert [row for block in blocks for row in range(block.start, block.stop)] == list(range(n_rows))
    assert len(blocks) == max(1, min(8, n_rows // 64))


def test_no_rows() -> None:
    assert blocks_of_rows(0, CPU) == []


@pytest.mark.parametrize("at_once", [1 << 20, 5000], ids=["all tasks", "few tasks at once"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_upper_half_of_the_kernel_is_enough(bias: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_NUMBERS_AT_ONCE", at_once)
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(30, 40, bias=bias), nn.Tanh(), nn.Linear(40, 9, bias=bias)).double()
    heads = nn.ModuleList(nn.Linear(9, 1) for _ in range(5)).double()
    z = trunk(torch.randn(271, 30, dtype=torch.float64))
    losses = [head(z).square().mean() for head in heads]
    assert_exact(LayerEngine("ghost"), losses, list(trunk.parameters()))
    own = [head(part).square().mean() for head, part in zip(heads, z.split([100, 1, 70, 50, 50]), strict=True)]
    assert_exact(LayerEngine("ghost"), own, list(trunk.parameters()))


def layer_of(n_rows: int, inputs: int, outputs: int, n_tasks: int) -> Layer:
    layer = nn.Linear(inputs, outputs)
    z = layer(torch.zeros(n_rows, inputs))
    losses: list[Tensor | None] = [z[:, task].sum() for task in range(n_tasks)]
    (found,) = LayerEngine("form").plan(Graph(losses), list(layer.parameters())).layers
    return found


def test_ghost_pays_where_rows_are_few_and_layers_wide() -> None:
    """As measured: at 256 rows and 512 units both ways cost the same for two tasks, for more tasks ghost is cheaper."""
    assert ghost_is_cheaper(layer_of(32, 2048, 2048, 2), 2, by_row=False)
    assert ghost_is_cheaper(layer_of(256, 512, 512, 10), 10, by_row=False)
    assert not ghost_is_cheaper(layer_of(256, 64, 512, 10), 10, by_row=False)
    assert not ghost_is_cheaper(layer_of(2000, 128, 512, 10), 10, by_row=False)
    assert not ghost_is_cheaper(layer_of(640, 512, 512, 5), 5, by_row=True)


def test_estimates_grow_with_rows_and_tasks() -> None:
    small, large = layer_of(64, 32, 32, 4), layer_of(128, 32, 32, 4)
    for rule in ("form", "ghost"):
        for by_row in (False, True):
            first = of_layer(small, rule, 4, by_row=by_row)
            assert first.operations < of_layer(large, rule, 4, by_row=by_row).operations
            assert first.operations < of_layer(small, rule, 8, by_row=by_row).operations or (rule == "ghost" and by_row)


def test_blocks_change_rounding_alone() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 50)
    x, weights = torch.randn(256, 300), torch.randn(6, 50)
    z = layer(x).tanh()
    losses: list[Tensor | None] = [(z * one).sum(1).square().mean() for one in weights]
    found = LayerEngine("ghost").gramian(losses, list(layer.parameters()))
    exact = LayerEngine("form", gram_dtype=torch.float64).gramian(losses, list(layer.parameters()))
    assert float((found - exact).abs().max() / exact.abs().max()) < 1e-6
    close(found, found.T)
