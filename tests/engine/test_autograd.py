"""The reference engine: rows, Gramians, layouts."""

from __future__ import annotations

import sys

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor, nn

from taskloom.balance.flow import Rows
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.base import Cost, GradientEngine, Layout
from taskloom.errors import EngineError


def test_rows_are_the_task_gradients(network: TwoHeads, inputs: Tensor) -> None:
    parameters = network.shared_parameters()
    losses = list(network.losses(inputs).values())
    rows = AutogradEngine().rows(losses, parameters)
    for k, loss in enumerate(losses):
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        assert torch.equal(rows.matrix()[k], torch.cat([gradient.reshape(-1) for gradient in gradients]))
    total = torch.autograd.grad(torch.stack(losses).sum(), parameters)
    summed = Layout(parameters).split(rows.combine(torch.ones(3)))
    for one, other in zip(summed, total, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_gramian_is_wide_and_symmetric(network: TwoHeads, inputs: Tensor) -> None:
    parameters = network.float().shared_parameters()
    losses = list(network.losses(inputs.float()).values())
    gramian = AutogradEngine().gramian(losses, parameters)
    assert gramian.dtype == torch.float64
    assert torch.equal(gramian, gramian.T)
    matrix = AutogradEngine().rows(losses, parameters).matrix().double()
    torch.testing.assert_close(gramian, matrix @ matrix.T, rtol=1e-12, atol=1e-14)


def test_wide_gramians_are_summed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    block = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0))
    whole = Rows((block,)).gramian()
    monkeypatch.setattr(sys.modules[Rows.__module__], "_COLUMNS_AT_ONCE", 64)
    torch.testing.assert_close(Rows((block,)).gramian(), whole)
    many = torch.randn(65, 10, generator=torch.Generator().manual_seed(0))
    assert Rows((many,)).gramian().dtype == torch.float32
    half = torch.full((2, 4096), 1.0, dtype=torch.bfloat16)
    assert Rows((half,)).gramian()[0, 1] == 4096


def test_unused_and_absent_give_zeros(network: TwoHeads, inputs: Tensor) -> None:
    losses = network.losses(inputs)
    rows = AutogradEngine().rows([losses["a"], None], [network.unused, network.heads[0].weight])
    matrix = rows.matrix()
    assert not matrix[:, :2].any()
    assert matrix[0, 2:].any()
    assert not matrix[1].any()


def test_sparse_gradients() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    output = table(torch.tensor([1, 1, 3]))
    rows = AutogradEngine().rows([output.sum(), -output[2].sum()], [table.weight]).matrix()
    assert rows[0].reshape(5, 2)[:, 0].tolist() == [0, 2, 0, 1, 0]
    assert rows[1].reshape(5, 2)[:, 0].tolist() == [0, 0, 0, -1, 0]


def test_layout_groups_by_dtype() -> None:
    parameters = [torch.zeros(2), torch.zeros(3).double(), torch.zeros(1, 2)]
    layout = Layout(parameters)
    flat = layout.flatten([torch.ones(2), None, torch.full((1, 2), 2.0)])
    assert [block.tolist() for block in flat] == [[1, 1, 2, 2], [0, 0, 0]]
    parts = layout.split(flat)
    assert [tuple(part.shape) for part in parts] == [(2,), (3,), (1, 2)]
    assert [part.dtype for part in parts] == [torch.float32, torch.float64, torch.float32]
    rows = Rows((torch.ones(2, 4), torch.ones(2, 3).double()))
    assert rows.matrix().shape == (2, 7)
    assert [piece.dtype for piece in rows.split(torch.arange(7.0).double())] == [torch.float32, torch.float64]


def test_cost() -> None:
    engine = AutogradEngine()
    assert engine.cost([torch.zeros(10), torch.zeros(5).double()], 3) == Cost(backward_passes=3, bytes=3 * 80)
    assert isinstance(engine, GradientEngine)


def test_a_compiled_graph_that_can_be_used_once_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("This backward function was compiled with non-empty donated buffers")

    theta = torch.ones(2, requires_grad=True)
    loss = theta.sum()
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    with pytest.raises(EngineError, match="donated_buffer = False"):
        AutogradEngine().rows([loss], [theta])
