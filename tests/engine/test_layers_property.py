"""Random networks, and every operation that is said to keep rows apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.engine.test_layers_exact import assert_exact
from torch import Tensor, nn

from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph
from taskloom.engine.layers.owners import MIXED, NOBODY, ByRow, join, one_row, runs_of, settled
from taskloom.engine.layers.rows import _RULES, keeps_rows, shape_of

WIDTH, SPACE = 6, 4  # every node of a random network is (n, 6, 4)


class Network(nn.Module):
    """A random graph of layers: node i applies an operation to earlier nodes; layers may be used again."""

    def __init__(self, steps: list[tuple[str, int, int, int]]) -> None:
        super().__init__()
        self.steps = steps
        self.linear = nn.ModuleList(nn.Linear(SPACE, SPACE, bias=k != 1) for k in range(3))
        self.turned = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=k != 1) for k in range(2))
        self.convolution = nn.ModuleList([nn.Conv1d(WIDTH, WIDTH, 3, padding=1), nn.Conv1d(WIDTH, WIDTH, 1, groups=2)])
        self.norm = nn.ModuleList([nn.LayerNorm(SPACE), nn.GroupNorm(2, WIDTH), nn.BatchNorm1d(WIDTH)])
        self.table = nn.ModuleList([nn.Embedding(7, SPACE, padding_idx=2), nn.Embedding(7, SPACE)])
        self.weight = nn.Parameter(torch.randn(SPACE, SPACE))

    def forward(self, x: Tensor, index: Tensor) -> list[Tensor]:
        nodes = [x, self.table[0](index)]
        for operation, which, first, second in self.steps:
            a, b = nodes[first % len(nodes)], nodes[second % len(nodes)]
            nodes.append(self.apply_step(operation, which, a, b, index))
        return nodes

    def apply_step(self, operation: str, which: int, a: Tensor, b: Tensor, index: Tensor) -> Tensor:
        if operation == "linear":
            return self.linear[which % 3](a)
        if operation == "turned":
            return self.turned[which % 2](a.transpose(1, 2)).transpose(1, 2)
        if operation == "convolution":
            return self.convolution[which % 2](a)
        if operation == "norm":
            return self.norm[which % 3](a)
        if operation == "embedding":
            return a + self.table[which % 2](index)
        if operation == "function":
            return [torch.tanh, F.gelu, F.relu, lambda z: F.relu_(z + 0)][which % 4](a)
        if operation == "by hand":
            return [a @ self.weight, a @ self.weight.T, F.linear(a, self.linear[0].weight)][which % 3]
        if operation == "join":
            return [a + b, a * b, a - 0.5 * b, (a @ b.transpose(1, 2)).softmax(-1) @ b][which % 4]
        return [a.detach() * b, a - a.mean(0), a[:, torch.arange(WIDTH - 1, -1, -1)], a.cumsum(1) / 4][which % 4]


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["linear", "linear", "turned", "convolution", "norm", "embedding", "function", "by hand", "join", "other"]
        ),
        st.integers(0, 11),
        st.integers(0, 20),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(
    steps=steps,
    seed=st.integers(0, 1000),
    ways=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=5),
    rule=st.sampled_from(["auto", "form", "ghost", "parameters"]),
    batching=st.sampled_from(["auto", "never", "always", 2]),
)
def test_random_networks(
    steps: list[tuple[str, int, int, int]], seed: int, ways: list[tuple[int, int]], rule: Any, batching: Any
) -> None:
    torch.manual_seed(seed)
    network, n = Network(steps).double(), 8
    nodes = network(torch.randn(n, WIDTH, SPACE, dtype=torch.float64), torch.randint(0, 7, (n, WIDTH)))
    losses: list[Tensor] = []
    for task, (way, place) in enumerate(ways):
        z = nodes[-1] if place % 3 else nodes[place % len(nodes)]
        if not z.requires_grad:
            z = nodes[1]
        chosen: dict[int, Callable[[Tensor], Tensor]] = {
            0: lambda z: z.square().mean(),
            1: lambda z, task=task: (z[task % n] + 1).square().sum(),
            2: lambda z, task=task: torch.where(torch.arange(n) % len(ways) == task, z.square().sum((1, 2)), 0.0).sum(),
            3: lambda z, task=task: z.split(2)[task % 4].tanh().sum(),
            4: lambda z: z.logsumexp(2).sum(),
            5: lambda z, task=task: z[:, task % WIDTH].square().sum() + network.weight.square().sum(),
        }
        losses.append(chosen[way](z))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert_exact(LayerEngine(rule, batching), losses, parameters)


# -- operations that keep rows apart ----------------------------------------------------------------------------------

N = 6


def a(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


OPERATIONS: dict[str, Callable[[], Tensor]] = {
    "elementwise": lambda: (torch.tanh(a(N, 3)) * a(N, 3) / (a(N, 3).exp() + 1) - a(N, 1)).clamp(-2, 2),
    "broadcast over rows": lambda: a(N, 3) + a(3) * a(1, 3),
    "broadcast over rows by equal sizes": lambda: a(N, N) * a(N) + a(N, N) * a(1, N) + a(N, N) * a(N, 1),
    "activations": lambda: F.gelu(F.silu(F.elu(F.leaky_relu(F.softplus(F.hardtanh(a(N, 4))))))) + F.glu(a(N, 8)),
    "glu over rows": lambda: F.glu(a(2 * N, 4), 0),
    "view in groups": lambda: a(N, 2, 3).view(2 * N, 3).view(N, 6).reshape(3 * N, 2),
    "view across rows": lambda: a(N, 4).view(N // 2, 8).view(N, 4),
    "transpose": lambda: a(N, 2, 3).transpose(1, 2).permute(0, 2, 1).mT,
    "transpose rows": lambda: a(N, N).T + a(N, N, 2).transpose(0, 1).sum(2) + a(N, 2, N).permute(2, 1, 0)[:, 0],
    "squeeze": lambda: a(N, 1, 3).squeeze(1).unsqueeze(2).squeeze().unsqueeze(-1),
    "squeeze the first axis": lambda: a(1, N, 3).squeeze(0).unsqueeze(0).squeeze(0),
    "sums": lambda: a(N, 2, 3).sum((1, 2)) + a(N, 4).mean(-1) + a(N, 4).logsumexp(1),
    "sums over rows": lambda: a(N, N).sum(0) + a(N, N).mean(-2) + a(N, N).logsumexp(0),
    "softmax": lambda: a(N, 4).softmax(1) + a(N, 4).log_softmax(-1),
    "softmax over rows": lambda: a(N, 4).softmax(0) + a(N, 4).log_softmax(-2),
    "cat": lambda: torch.cat([a(N, 2), a(N, 3)], 1),
    "cat over rows": lambda: torch.cat([a(2, 3), a(4, 3)]) + torch.cat([a(N, 3), a(N, 3)])[:N],
    "stack": lambda: torch.stack([a(N, 2), a(N, 2)], 1),
    "stack over rows": lambda: torch.stack([a(N), a(N), a(N), a(N), a(N), a(N)]),
    "cut": lambda: a(N, 5)[:, 2] + a(N, 5).split(2, 1)[0][:, 1] + a(N, 5).unbind(1)[3] + a(N, 9)[:, 1:8:2][:, 0],
    "cut rows": lambda: a(2 * N, 5)[:N] + a(2 * N, 5).split(N)[1] + a(2, N, 5)[1] + a(2, N, 5).unbind(0)[0],
    "flip and roll": lambda: a(N, 3).flip(0) + a(N, 3).roll(1, 0) + a(N, 3)[torch.randperm(N)],
    "cumulative": lambda: a(N, 3).cumsum(0) + a(N, 3).cumsum(1) + a(N, 3).sort(0).values,
    "expand": lambda: a(N, 1).expand(N, 3) + a(N, 3, 1).expand(-1, -1, 2).sum(2),
    "expand to rows": lambda: a(1, 3).expand(N, 3) + a(3).expand(N, 3),
    "products": lambda: (
        a(N, 3) @ a(3, 4) + torch.addmm(a(4), a(N, 3), a(3, 4)) + torch.addmm(a(N, 4), a(N, 3), a(3, 4))
    ),
    "products of rows": lambda: a(N, N) @ a(N, 3) + torch.addmm(a(1, 3), a(N, N), a(N, 3)),
    "batched products": lambda: torch.bmm(a(N, 2, 3), a(N, 3, 4)) + a(N, 2, 3) @ a(3, 4),
    "normalised": lambda: F.layer_norm(a(N, 2, 3), (3,), a(3), a(3)) + F.layer_norm(a(N, 2, 3), (2, 3)),
    "normalised over rows": lambda: F.layer_norm(a(N, 3), (N, 3)) + F.batch_norm(a(N, 3), None, None, training=True),
    "convolutions": lambda: F.avg_pool2d(F.max_pool2d(F.conv2d(a(N, 2, 8, 8), a(3, 2, 3, 3), a(3)), 2), 2),
    "pooled": lambda: F.adaptive_avg_pool2d(F.interpolate(a(N, 2, 3, 3), scale_factor=2), 2),
    "attention": lambda: F.scaled_dot_product_attention(a(N, 2, 3, 4), a(N, 2, 3, 4), a(N, 2, 3, 4)),
    "losses": lambda: (
        F.mse_loss(a(N, 3), a(N, 3), reduction="none")
        + F.huber_loss(a(N, 3), a(N, 3), reduction="none")
        + F.smooth_l1_loss(a(N, 3), a(N, 3), reduction="none")
        + F.binary_cross_entropy_with_logits(a(N, 3), torch.rand(N, 3, dtype=torch.float64), reduction="none")
    ),
    "class losses": lambda: F.cross_entropy(a(N, 3), torch.randint(0, 3, (N,)), reduction="none"),
    "mean losses": lambda: F.mse_loss(a(N, 3), a(N, 3)) + a(N),
    "masks": lambda: torch.where(torch.rand(N, 3) > 0.5, a(N, 3), a(N, 3)).masked_fill(torch.rand(N, 3) > 0.5, 0.0),
    "masks by rows": lambda: a(N, 3).masked_fill(torch.rand(N, 1) > 0.5, 0.0) * torch.maximum(a(N, 3), a(N, 3)),
    "powers": lambda: a(N, 3) ** 2 + a(N, 3).exp().sqrt().log1p() + a(N, 3).abs().rsqrt() + a(N, 3).double().neg(),
    "outer": lambda: torch.einsum("nd,md->nm", a(N, 3), a(N, 3)) + torch.cdist(a(N, 3), a(N, 3)),
    "gathered": lambda: a(N, 4).gather(1, torch.randint(0, 4, (N, 2))).sum(1) + a(N)[torch.randint(0, N, (N,))],
    "dropout": lambda: F.dropout(a(N, 3), 0.5) + torch.lerp(a(N, 3), a(N, 3), 0.3),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_keep_rows_apart_do(name: str) -> None:
    """What the table says of every operation in the graph, against its own backward, row by row."""
    torch.manual_seed(0)
    waiting, seen, claimed = [OPERATIONS[name]().grad_fn], set(), 0
    while waiting:
        node: Any = waiting.pop()
        if node in seen or not node.next_functions:
            continue
        seen.add(node)
        shape = shape_of(node)
        for position, (child, output) in enumerate(node.next_functions):
            if child is None:
                continue
            waiting.append(child)
            for n_rows in {N, shape[0] if shape else 1}:
                if shape and shape[0] % n_rows == 0 and keeps_rows(node, node.name(), position, n_rows):
                    claimed += 1
                    assert_rows_apart(node, position, shape, shape_of(child, output), n_rows)
    assert claimed or any(word in name for word in ("row", "flip", "cumulative", "outer", "gathered", "mean", "first"))


def assert_rows_apart(node: Any, position: int, outside: Any, inside: Any, n_rows: int) -> None:
    metadata = len(node._input_metadata)
    gradient = torch.randn(outside, dtype=torch.float64)

    def pull(given: Tensor) -> Tensor:
        arguments = [given] + [None] * (metadata - 1)
        found = node(*arguments)
        own = (found if isinstance(found, tuple) else (found,))[position]
        return own.sum_to_size(inside).clone()  # as the engine of autograd does behind a broadcast

    whole = pull(gradient)
    many, of_result = inside[0] // n_rows, outside[0] // n_rows
    for row in range(n_rows):
        alone = torch.zeros_like(gradient)
        own = slice(row * of_result, (row + 1) * of_result)
        alone[own] = gradient[own]
        found = pull(alone)
        here = slice(row * many, (row + 1) * many)
        assert torch.equal(found[here], whole[here]), node.name()
        found[here] = 0
        assert not found.any(), node.name()


def test_the_table_names_operations_that_exist() -> None:
    known = {name for name in dir(torch._C._functions) if name.endswith(("0", "1", "2"))}
    if len(known) < 50:
        pytest.skip("this build lists no operations")
    assert {name.rstrip("012") for name in _RULES} <= {name.rstrip("012") for name in known}


# -- owners -----------------------------------------------------------------------------------------------------------

owners = st.one_of(
    st.integers(0, 2),
    st.just(MIXED),
    st.lists(st.sampled_from([NOBODY, 0, 1, 2]), min_size=4, max_size=4).map(
        lambda tasks: runs_of([(task, 1) for task in tasks])
    ),
)


def rows_of(owner: Any) -> list[set[int]]:
    """Tasks that may have a gradient in each of four rows."""
    if isinstance(owner, ByRow):
        return [{task} - {NOBODY} for task, length in owner.runs for _ in range(length)]
    return [{0, 1, 2} if owner == MIXED else {owner}] * 4


@settings(max_examples=300, deadline=None)
@given(owners, owners)
def test_owners_of_sums_cover_both(first: Any, second: Any) -> None:
    both = join(first, second)
    assert join(second, first) == both
    assert join(None, first) == first
    for joined, one, other in zip(rows_of(both), rows_of(first), rows_of(second), strict=True):
        assert one | other <= joined
    for row, before in zip(rows_of(settled(first)), rows_of(first), strict=True):
        assert before <= row


def test_rows_of_owners() -> None:
    assert one_row(3, 1, 2, 5).runs == ((NOBODY, 1), (3, 2), (NOBODY, 2))
    assert one_row(3, 0, 5, 5).runs == ((3, 5),)
    assert list(ByRow(((0, 1), (NOBODY, 1), (1, 2))).slices(8)) == [(0, slice(0, 2)), (1, slice(4, 8))]
    assert join(ByRow(((0, 2),)), ByRow(((0, 3),))) == MIXED


def test_owners_are_never_too_few() -> None:
    """Every gradient that a task has anywhere is one that the graph says it may have."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 4)
    z = layer(torch.randn(6, 3))
    parts = z.split([2, 1, 3])
    stacked = torch.stack([part.sum(0) for part in parts])
    losses = [parts[0].sum(), parts[1].square().sum(), (stacked[2] * 2).sum(), stacked.sum()]
    for chosen in (losses[:3], losses):
        graph = Graph(chosen)
        for node in graph.inputs:
            if node.name() == "AddmmBackward0":
                owner = graph.owner(node)
                expected = ByRow(((0, 2), (1, 1), (2, 3))) if len(chosen) == 3 else MIXED
                assert owner == expected
