"""Every operation of the table gives what autograd's own rule gives, for several tasks at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from taskloom.engine.layers.frontier import find_frontier
from taskloom.engine.layers.graph import Graph
from taskloom.engine.replay import operations
from taskloom.engine.replay.attention import attention
from taskloom.engine.replay.program import Program
from taskloom.engine.replay.site import Patch, Site, site_of


def _matrix() -> Tensor:
    return torch.randn(6, 8, dtype=torch.float64).abs() + 0.1


def _images() -> Tensor:
    return torch.randn(3, 4, 6, 6, dtype=torch.float64)


def _heads() -> Tensor:
    return torch.randn(2, 3, 5, 4, dtype=torch.float64)


def _masked(x: Tensor) -> Tensor:
    mask = torch.zeros(5, 5, dtype=torch.float64)
    mask[0, 3] = -torch.inf
    return F.scaled_dot_product_attention(x, 2 * x, x + 1, attn_mask=mask)


CASES: dict[str, tuple[Callable[[], Tensor], Callable[[Tensor], Tensor]]] = {
    **{
        name: (_matrix, getattr(torch, name))
        for name in ("abs", "exp", "log", "neg", "relu", "rsqrt", "sigmoid", "sin", "sqrt", "tanh", "reciprocal")
    },
    "gelu": (_matrix, F.gelu),
    "silu": (_matrix, F.silu),
    "leaky relu": (_matrix, lambda x: F.leaky_relu(x - 0.5)),
    "clamp": (_matrix, lambda x: x.clamp(0.2, 0.9)),
    "power": (_matrix, lambda x: x**3),
    "power of a tensor": (_matrix, lambda x: x ** (x + 1)),
    "dropout": (_matrix, lambda x: F.dropout(x, 0.5)),
    "where": (_matrix, lambda x: torch.where(x > 0.5, 2 * x, x * x)),
    "masked": (_matrix, lambda x: x.masked_fill(x > 0.5, 2.0)),
    "maximum": (_matrix, lambda x: torch.maximum(x, x * x)),
    "added": (_matrix, lambda x: torch.add(x, x.sum(0), alpha=3)),
    "subtracted": (_matrix, lambda x: x.sum(1, keepdim=True) - x),
    "multiplied": (_matrix, lambda x: x * x.exp()),
    "multiplied along an axis": (_matrix, lambda x: x * x.mean(0)),
    "multiplied by a number": (_matrix, lambda x: 3 * x),
    "divided": (_matrix, lambda x: x / (1 + x)),
    "divided along an axis": (_matrix, lambda x: x / x.sum(1, keepdim=True)),
    "viewed": (_matrix, lambda x: x.view(4, 12).unsqueeze(1).squeeze(1)),
    "transposed": (_matrix, lambda x: x.T.transpose(0, 1).contiguous().view(2, 3, 8).permute(2, 0, 1)),
    "expanded": (_matrix, lambda x: x[:, :1].expand(6, 5)),
    "selected": (_matrix, lambda x: x[2] + x[0] * x[2]),
    "all selected": (_matrix, lambda x: torch.stack([x[place] * (place + 1) for place in range(6)]).sum(0)),
    "sliced": (_matrix, lambda x: x[1:5:2, -3:] + x[:2, :3]),
    "unbound": (_matrix, lambda x: x.unbind(1)[3] * x.unbind(1)[5]),
    "split": (_matrix, lambda x: x.split(3, 1)[0] + x.split([2, 3, 3], 1)[2]),
    "concatenated": (_matrix, lambda x: torch.cat([x, x.exp()], 1)),
    "concatenated with a constant": (_matrix, lambda x: torch.cat([torch.ones_like(x), x], 1)),
    "stacked": (_matrix, lambda x: torch.stack([x, x.exp(), torch.ones_like(x)], 1)),
    "summed": (_matrix, lambda x: x.sum() * x.sum(-1) + x.sum((0, 1), keepdim=True)),
    "averaged": (_matrix, lambda x: x.mean() * x.mean(0, keepdim=True)),
    "product": (_matrix, lambda x: x @ x.T),
    "product with addition": (_matrix, lambda x: torch.addmm(x[:, 0], x, x.T)),
    "scaled product": (_matrix, lambda x: torch.addmm(x[:, :6], x, x.T, alpha=2, beta=3)),
    "batched product": (_heads, lambda x: torch.bmm(x[0], x[1].transpose(1, 2))),
    "vector product": (_matrix, lambda x: x @ x[0]),
    "softmax": (_matrix, lambda x: x.softmax(1) + x.softmax(0)),
    "logarithm of softmax": (_matrix, lambda x: x.log_softmax(-1)),
    "convolution": (_images, lambda x: F.conv2d(x, torch.ones(2, 4, 3, 3, dtype=x.dtype), padding=1, stride=2)),
    "grouped convolution": (_images, lambda x: F.conv2d(x, torch.ones(4, 2, 3, 3, dtype=x.dtype), groups=2)),
    "transposed convolution": (_images, lambda x: F.conv_transpose2d(x, torch.ones(4, 2, 3, 3, dtype=x.dtype))),
    "pooled": (_images, lambda x: F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)),
    "layer norm": (_images, lambda x: F.layer_norm(x, (6, 6), x[0, 0].detach().exp())),
    "layer norm without weight": (_images, lambda x: F.layer_norm(x, (6,))),
    "batch norm": (_images, lambda x: F.batch_norm(x, None, None, torch.ones(4).double(), training=True)),
    "batch norm in evaluation": (_images, lambda x: F.batch_norm(x, x[0, :, 0, 0].detach(), torch.ones(4).double())),
    "group norm": (_images, lambda x: F.group_norm(x, 2)),
    "attention": (_heads, lambda x: F.scaled_dot_product_attention(x, 2 * x, x + 1)),
    "causal attention": (_heads, lambda x: F.scaled_dot_product_attention(x, 2 * x, x + 1, is_causal=True, scale=0.3)),
    "masked attention": (_heads, _masked),
    "attention with dropout": (_heads, lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.3)),
    "in place": (_matrix, lambda x: (F.relu_(x * 2) + 1).add_(x)),
    "cast": (_matrix, lambda x: x.float().double()),
    "not in the table": (_matrix, lambda x: torch.cumsum(x, 1) + torch.logsumexp(x, 1, keepdim=True)),
}


def replayed(make: Callable[[], Tensor], of: Callable[[Tensor], Tensor], dtype: torch.dtype, n_tasks: int = 3) -> Any:
    """Gradients of an input for several cotangents by autograd and by replay."""
    torch.manual_seed(0)
    start = make().requires_grad_()
    inputs = start.clone()  # an operation of its own, so that gradients pass on
    output = of(inputs)
    cotangents = torch.randn(n_tasks, *output.shape, dtype=output.dtype)
    expected = torch.stack([torch.autograd.grad(output, start, one, retain_graph=True)[0] for one in cotangents])
    losses = [(output * one).sum() for one in cotangents]
    graph = Graph(losses)
    end = graph.accumulators[id(start)]
    frontier = find_frontier(graph, [end])
    assert frontier is not None
    targets = [torch.autograd.grad(loss, frontier.targets(), retain_graph=True) for loss in losses]
    found: list[Tensor] = []
    with torch.no_grad():
        program = Program(graph, frontier, [end], dtype)
        for is_last in (False, True):
            program.run([torch.stack(one) for one in zip(*targets, strict=True)], {end: found.append}, is_last=is_last)
    assert torch.equal(found[0], found[1])
    return found[0], expected


@pytest.mark.parametrize("name", CASES)
def test_equal_to_autograd(name: str) -> None:
    found, expected = replayed(*CASES[name], torch.float64)
    tolerance = 1e-6 if name == "cast" else 1e-12
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_close_in_bfloat16(name: str) -> None:
    found, expected = replayed(*CASES[name], torch.bfloat16)
    assert found.dtype == torch.bfloat16
    assert float((found.double() - expected).norm() / expected.norm()) < 0.02


def test_known_operations_are_not_left_to_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    own = operations._task_by_task
    monkeypatch.setattr(operations, "_task_by_task", lambda site: left.append(site.name) or own(site))
    for name in ("gelu", "viewed", "added", "product", "layer norm", "attention", "softmax", "convolution", "sliced"):
        replayed(*CASES[name], torch.float64)
    assert left == []
    replayed(*CASES["not in the table"], torch.float64)
    assert set(left) == {"CumsumBackward0", "LogsumexpBackward0"}


@pytest.mark.parametrize("what", ["dropout", "fewer keys and values", "learned mask", "three axes"])
def test_other_attention_is_left_to_autograd(what: str) -> None:
    query = _heads() if what != "three axes" else _heads()[0]
    key = query[:, :1] if what == "fewer keys and values" else query
    node = SimpleNamespace(
        _saved_query=query,
        _saved_key=key,
        _saved_value=key,
        _saved_dropout_p=0.5 if what == "dropout" else 0.0,
        _saved_is_causal=False,
    )
    wanted = (True, True, True, what == "learned mask")
    assert attention(Site(node, "", wanted, (), ((2, 3, 5, 4),), torch.float32)) is None


def test_site_of_a_layer_norm() -> None:
    x = torch.randn(4, 8, requires_grad=True)
    layer = nn.LayerNorm(8)
    node: Any = layer(x).grad_fn
    site = site_of(node, node.next_functions, [True, False, True], torch.float32)
    assert isinstance(site, Site)
    assert site.inside == ((4, 8), (), (8,))
    assert site.outside[0] == (4, 8)


def test_patches_know_their_entry() -> None:
    assert Patch((slice(None), 3), torch.ones(1)).entry == 3
    assert Patch((slice(0, 2),), torch.ones(1)).entry == -1
