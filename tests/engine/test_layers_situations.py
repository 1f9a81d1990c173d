"""What a forward pass may do besides: several frontiers, absent tasks, errors, precision, memory."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.engine.conftest import TwoHeads
from tests.engine.layer_networks import CASES, heads_for, jacobian, masked_losses, mlp
from tests.engine.test_layers_exact import ENGINES, assert_exact
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.base import GradientEngine
from taskloom.engine.combine import balance
from taskloom.engine.layers import capture, part
from taskloom.engine.layers.choice import default_engine
from taskloom.engine.layers.engine import LayerEngine
from taskloom.engine.layers.graph import Graph
from taskloom.errors import BalanceError, EngineError


def rows_of(n: int = 10) -> Tensor:
    return torch.randn(n, 7, dtype=torch.float64)


each_engine = pytest.mark.parametrize("options", ENGINES)


# -- where heads begin ------------------------------------------------------------------------------------------------


@each_engine
def test_several_features(options: str) -> None:
    torch.manual_seed(0)
    a, b, c = (nn.Linear(7, 7).double() for _ in range(3))
    parameters = [parameter for layer in (a, b, c) for parameter in layer.parameters()]
    x = rows_of()
    one, two = torch.tanh(a(x)), torch.tanh(b(x))
    losses = [one.square().mean(), two.sum(), (one * two).mean(), (c(x) + one).square().sum()]
    assert_exact(LayerEngine(**ENGINES[options]), losses, parameters)


@each_engine
def test_heads_at_several_depths(options: str) -> None:
    torch.manual_seed(0)
    a, b, c = (nn.Linear(7, 7).double() for _ in range(3))
    parameters = [parameter for layer in (a, b, c) for parameter in layer.parameters()]
    x = rows_of()
    first = torch.tanh(a(x))
    second = torch.tanh(b(first))
    third = torch.tanh(c(second))
    losses = [first.square().mean(), second.sum(), third.square().mean(), (first * third).sum(), b.weight.sum()]
    assert_exact(LayerEngine(**ENGINES[options]), losses, parameters)


@each_engine
def test_experts_with_a_gate_per_task(options: str) -> None:
    torch.manual_seed(0)
    bottom = nn.Linear(7, 6).double()
    experts = nn.ModuleList(nn.Linear(6, 5) for _ in range(3)).double()
    gates = nn.ModuleList(nn.Linear(6, 3) for _ in range(4)).double()
    h = torch.tanh(bottom(rows_of()))
    mixed = torch.stack([torch.tanh(expert(h)) for expert in experts], 1)
    losses = [(gate(h).softmax(-1).unsqueeze(-1) * mixed).sum(1).square().mean() for gate in gates]
    assert_exact(LayerEngine(**ENGINES[options]), losses, [*bottom.parameters(), *experts.parameters()])


@each_engine
def test_losses_that_share_more_than_features(options: str) -> None:
    """A penalty in one loss, a loss inside another, one tensor as two losses, a shared head, a leaf as a loss."""
    torch.manual_seed(0)
    trunk, head = mlp().double(), nn.Linear(9, 1).double()
    parameters = list(trunk.parameters())
    z = trunk(rows_of())
    first = head(z).square().mean()
    losses = [
        first,
        z.mean() + 0.1 * trunk[0].weight.square().sum(),
        first * 2 + z.square().mean(),
        first,
        head(torch.tanh(z)).sum(),
    ]
    assert_exact(LayerEngine(**ENGINES[options]), losses, parameters)
    scale = nn.Parameter(torch.ones((), dtype=torch.float64))
    assert_exact(LayerEngine(**ENGINES[options]), [scale, (z * scale).sum(), z.sum()], [*parameters, scale])


@each_engine
def test_absent_and_single_tasks(options: str) -> None:
    torch.manual_seed(0)
    trunk = mlp().double()
    z = trunk(rows_of())
    losses: list[Any] = [z.mean(), None, z.square().mean(), z.sum() * 0, None]
    expected = jacobian(losses, list(trunk.parameters()))
    rows = LayerEngine(**ENGINES[options]).rows(losses, list(trunk.parameters()))
    torch.testing.assert_close(rows.gramian(), expected @ expected.T, rtol=1e-12, atol=1e-14)
    assert not rows.gramian()[1].any()
    torch.testing.assert_close(rows.matrix(), expected, rtol=1e-12, atol=1e-14)
    assert_exact(LayerEngine(**ENGINES[options]), [z.mean()], list(trunk.parameters()))


@each_engine
def test_parameters_that_one_task_reaches(options: str) -> None:
    torch.manual_seed(0)
    a, b = nn.Linear(7, 7).double(), nn.Linear(7, 7).double()
    h = torch.tanh(a(rows_of()))
    losses = [h.sum(), b(h).square().mean(), h.square().sum()]
    unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    rows = assert_exact(LayerEngine(**ENGINES[options]), losses, [*a.parameters(), unused, *b.parameters()])
    assert rows.gradients(torch.ones(3))[2] is None


def test_nothing_is_reached() -> None:
    rows = LayerEngine().rows([rows_of().requires_grad_().sum()], [nn.Parameter(torch.ones(3))])
    assert rows.gramian().tolist() == [[0.0]]
    assert rows.gradients(torch.ones(1)) == [None]
    assert not rows.matrix().any()


def test_gradient_hooks_that_mix_rows_of_one_task() -> None:
    """Seen where every task has a pass of its own."""
    torch.manual_seed(0)
    trunk = mlp().double()
    h = trunk[0](rows_of())
    h.register_hook(lambda gradient: gradient - gradient.mean(0))
    z = trunk[1:](h)
    for options in ENGINES.values():
        assert_exact(LayerEngine(**options), [z.mean(), z.square().mean(), z.sum()], list(trunk.parameters()))


# -- what cannot be done together -------------------------------------------------------------------------------------


class _Opaque(torch.autograd.Function):
    """Its backward looks at values, which batching cannot."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 2 if float(gradient.sum()) > -1e9 else gradient


def test_batching_that_fails_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    trunk = mlp().double()
    engine = LayerEngine(batching="always")
    with caplog.at_level("INFO"):
        for _ in range(2):
            z = _Opaque.apply(trunk(rows_of()))
            assert_exact(engine, [z.mean(), z.square().mean(), z.sum()], list(trunk.parameters()))
    assert caplog.text.count("one by one from now on") == 1
    assert engine.batching == "never"


def test_compiled_parts_are_opaque() -> None:
    torch.manual_seed(0)
    trunk = mlp().double()
    compiled = torch.compile(trunk[2:], backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        z = compiled(trunk[:2](rows_of()))
        losses = [z.mean(), z.square().mean(), z.sum()]
        for options in ENGINES.values():
            assert_exact(LayerEngine(**options), losses, list(trunk.parameters()))


# -- errors -----------------------------------------------------------------------------------------------------------


def test_reentrant_checkpoints_are_refused() -> None:
    a, b = nn.Linear(7, 7), nn.Linear(7, 7)
    z = b(checkpoint(a, torch.randn(4, 7, requires_grad=True), use_reentrant=True))
    with pytest.raises(EngineError, match="use_reentrant=False"):
        LayerEngine().rows([z.sum(), z.mean()], [*a.parameters(), *b.parameters()])


def test_an_input_that_was_changed_is_noticed() -> None:
    for rule in ("form", "ghost"):
        layer, x = nn.Linear(7, 7), torch.randn(200, 7)
        z = layer(x)
        x.mul_(2)
        with pytest.raises(EngineError, match="changed in place"):
            LayerEngine(rule).rows([z.sum(), z.square().sum()], list(layer.parameters()))


def test_a_freed_graph_is_explained() -> None:
    layer = nn.Linear(7, 7)
    losses = [layer(torch.randn(3, 7)).square().sum(), layer(torch.randn(3, 7)).sum()]
    torch.stack(losses).sum().backward()
    for rule in ("form", "parameters"):
        with pytest.raises(EngineError, match="freed by an earlier backward"):
            LayerEngine(rule).rows(losses, list(layer.parameters()))


def test_wrong_options_are_named() -> None:
    given: Any = "fast"
    with pytest.raises(EngineError, match="rule must be"):
        LayerEngine(given)
    with pytest.raises(EngineError, match="batching must be"):
        LayerEngine(batching=0)


def test_a_corrupted_input_makes_the_comparison_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of all tests above: they can fail."""
    original = capture.saved
    monkeypatch.setattr("taskloom.engine.layers.proofs.saved", lambda node, name: original(node, name) * 1.001)
    for rule in ("form", "ghost"):
        trunk = nn.Sequential(nn.Linear(7, 20), nn.Tanh(), nn.Linear(20, 5)).double()
        z = trunk(rows_of())
        with pytest.raises(AssertionError, match="relative error"):
            assert_exact(LayerEngine(rule), [z.mean(), z.square().mean()], list(trunk.parameters()))
    heads = heads_for(9)
    trunk = mlp().double()
    losses = dict(zip("abcd", masked_losses(heads, [trunk(rows_of())] * 4, has_absent=False), strict=True))
    with pytest.raises(EngineError, match="do not add up"):  # the check of the first step sees it too
        balance(losses, pcgrad(), shared=trunk, engine=LayerEngine("form"))


# -- memory -----------------------------------------------------------------------------------------------------------


def test_nothing_is_kept_after_a_step() -> None:
    torch.manual_seed(0)
    trunk, engine = mlp().double(), LayerEngine("form")
    hidden = trunk[:2](rows_of())
    saved = weakref.ref(hidden)
    z = trunk[2:](hidden)
    del hidden
    losses: list[Any] = [z.mean(), z.square().mean()]
    rows = engine.rows(losses, list(trunk.parameters()))
    rows.gramian()
    assert saved() is not None
    del rows, losses, z
    gc.collect()
    assert saved() is None
    assert all(not module._forward_hooks for module in trunk.modules())


def test_two_measurements_do_not_share_memory() -> None:
    torch.manual_seed(0)
    trunk, engine = mlp().double(), LayerEngine("form", "never")
    parameters = list(trunk.parameters())
    found, expected = [], []
    for _ in range(3):
        z = trunk(rows_of())
        losses: list[Any] = [z.mean(), z.square().mean()]
        expected.append(jacobian(losses, parameters))
        found.append(engine.rows(losses, parameters))
    for rows, matrix in zip(found, expected, strict=True):
        torch.testing.assert_close(rows.matrix(), matrix, rtol=1e-12, atol=1e-14)
    gradients = found[0].gradients(torch.ones(2, dtype=torch.float64))
    kept = [None if one is None else one.clone() for one in gradients]
    del found, rows
    z = trunk(rows_of())
    engine.rows([z.mean(), z.square().mean()], parameters)  # takes the memory again
    for one, other in zip(gradients, kept, strict=True):
        assert one is not None
        assert torch.equal(one, other)


def test_blocks_are_used_again() -> None:
    trunk, engine = nn.Linear(7, 9).double(), LayerEngine("form", "never")

    def step() -> set[int]:
        z = trunk(rows_of())
        rows = engine.rows([z.mean(), z.square().mean()], list(trunk.parameters()))
        return {block.data_ptr() for one in rows.parts for block in one.blocks}

    assert step() == step()
    pool = engine._pool
    first = 2 * 80  # two rows of 7 * 9 + 9 numbers, and what is left to the next multiple of 16
    assert first in {block.numel() for _, block in pool._free}
    bigger = nn.Linear(9, 11).double()
    for _ in range(4):
        z = bigger(torch.randn(3, 9, dtype=torch.float64))
        engine.rows([z.mean(), z.square().mean()], list(bigger.parameters()))
    sizes = {block.numel() for _, block in pool._free}
    assert 2 * 112 in sizes
    assert first not in sizes  # let go


def test_products_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    from taskloom.engine.layers import products

    torch.manual_seed(0)
    wide = torch.randn(5, 20_000)
    exact = wide.double() @ wide.double().T
    found = products.products(wide, wide)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-7 * float(exact.max()))
    assert torch.equal(products.products(wide, wide, torch.float64).round(decimals=6), exact.round(decimals=6))
    monkeypatch.setattr(products, "_NUMBERS_AT_ONCE", 1 << 7)
    torch.testing.assert_close(products.products(wide, wide[:2]), exact[:, :2], rtol=1e-5, atol=1e-3)
    half = torch.full((2, 4096), 1.0, dtype=torch.bfloat16)
    assert products.products(half, half)[0, 1] == 4096


# -- precision --------------------------------------------------------------------------------------------------------


def relative(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact.double()).abs().max() / exact.double().abs().max())


@pytest.mark.parametrize("rule", ["form", "ghost"])
def test_single_precision_is_as_good_as_that_of_autograd(rule: Any) -> None:
    for name in ("mlp", "module called three times", "convolutions", "transformer", "experts"):
        torch.manual_seed(0)
        case = CASES[name]
        trunk, inputs, heads = case.make().double(), case.inputs(), heads_for(case.width)
        parameters = list(trunk.parameters())
        torch.manual_seed(1)
        exact = jacobian(masked_losses(heads, [trunk(inputs)] * 4), parameters)
        trunk, heads = trunk.float(), heads.float()
        torch.manual_seed(1)
        z = trunk(inputs.float() if inputs.is_floating_point() else inputs)
        losses = masked_losses(heads, [z] * 4)
        parameters = list(trunk.parameters())
        gramian = exact @ exact.T
        reference = relative(AutogradEngine().gramian(losses, parameters), gramian)
        for batching in ("never", "always"):
            found = LayerEngine(rule, batching).gramian(losses, parameters)
            assert relative(found, gramian) < 4 * reference + 2e-7, name


@pytest.mark.parametrize("batching", ["never", "always"])
@pytest.mark.parametrize("rule", ["form", "ghost"])
def test_autocast_is_as_good_as_that_of_autograd(rule: Any, batching: Any) -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(7, 40), nn.Tanh(), nn.Linear(40, 30), nn.LayerNorm(30), nn.Linear(30, 9))
    heads = nn.ModuleList(nn.Linear(9, 3) for _ in range(4))
    x = torch.randn(10, 7)
    parameters = list(trunk.parameters())
    exact = jacobian(masked_losses(heads, [trunk(x)] * 4), parameters)
    with torch.autocast("cpu", torch.bfloat16):
        z = trunk(x)
    losses = masked_losses(heads, [z.float()] * 4)
    rows = LayerEngine(rule, batching).rows(losses, parameters)
    weights = torch.tensor([1.0, -0.5, 2.0, 1.0])
    found = rows.gradients(weights)
    assert all(one is not None and one.dtype == torch.float32 for one in found)
    reference = AutogradEngine().rows(losses, parameters)
    gramian = exact @ exact.T
    assert relative(rows.gramian(), gramian) < 1.5 * relative(reference.gramian(), gramian) + 1e-3
    direction = torch.cat([one.reshape(-1) for one in found if one is not None])
    allowed = 1.5 * relative(torch.cat(reference.combine(weights)), exact.T @ weights) + 1e-3
    assert relative(direction, exact.T @ weights) < allowed


def test_balancing_inside_autocast_is_that_outside() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(7, 40), nn.LayerNorm(40), nn.Linear(40, 9))
    z = trunk(torch.randn(10, 7))
    losses: list[Any] = [z.mean(), z.square().mean(), -z.sum()]
    for rule in ("form", "ghost"):
        for batching in ("never", "always"):
            engine = LayerEngine(rule, batching)
            outside = engine.rows(losses, list(trunk.parameters()))
            expected = outside.gramian(), outside.gradients(torch.ones(3)), outside.matrix()
            with torch.autocast("cpu", torch.bfloat16):
                inside = engine.rows(losses, list(trunk.parameters()))
                found = inside.gramian(), inside.gradients(torch.ones(3)), inside.matrix()
            assert torch.equal(found[0], expected[0])
            assert torch.equal(found[2], expected[2])
            assert all(torch.equal(a, b) for a, b in zip(found[1], expected[1], strict=True))  # type: ignore[arg-type]


@each_engine
def test_sparse_gradients(options: str) -> None:
    torch.manual_seed(0)
    table, layer = nn.Embedding(9, 7, sparse=True).double(), nn.Linear(7, 7).double()
    z = layer(table(torch.randint(0, 9, (10,))))
    losses = [z.mean(), z.square().mean(), -z.sum()]
    assert_exact(LayerEngine(**ENGINES[options]), losses, [table.weight, *layer.parameters()])


@each_engine
def test_empty_batches(options: str) -> None:
    layer = nn.Linear(7, 7).double()
    z = layer(torch.zeros(0, 7, dtype=torch.float64))
    losses = [z.sum(), z.square().sum(), z[:0].sum(), z.split([0, 0])[1].sum()]
    rows = LayerEngine(**ENGINES[options]).rows(losses, list(layer.parameters()))
    assert not rows.gramian().any()
    assert not rows.matrix().any()
    parts = layer(torch.ones(3, 7, dtype=torch.float64)).split([0, 2, 0, 1])
    assert_exact(LayerEngine(**ENGINES[options]), [part.square().sum() for part in parts], list(layer.parameters()))


@pytest.mark.parametrize("rule", ["form", "ghost"])
def test_half_precision_parameters(rule: Any) -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Embedding(20, 8), nn.Flatten(), nn.Linear(24, 9)).bfloat16()
    z = trunk(torch.randint(0, 20, (10, 3))).float()
    losses = [z.mean(), z.square().mean(), -z.sum()]
    parameters = list(trunk.parameters())
    rows, expected = LayerEngine(rule).rows(losses, parameters), AutogradEngine().rows(losses, parameters)
    assert relative(rows.gramian(), expected.gramian()) < 2e-2
    assert [one.dtype for one in rows.gradients(torch.ones(3)) if one is not None] == [torch.bfloat16] * 3
    assert [block.dtype for block in rows.blocks] == [torch.bfloat16]


def test_parameters_of_two_dtypes() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(7, 8).double(), nn.Linear(8, 3)
    z = second(torch.tanh(first(rows_of())).float())
    losses: list[Any] = [z.mean(), z.square().mean()]
    parameters = [*first.parameters(), *second.parameters()]
    for rule in ("form", "ghost"):
        rows, expected = LayerEngine(rule).rows(losses, parameters), AutogradEngine().rows(losses, parameters)
        torch.testing.assert_close(rows.gramian(), expected.gramian(), rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(rows.matrix(), expected.matrix(), rtol=1e-5, atol=1e-7)
        for one, other in zip(rows.combine(torch.ones(2)), expected.combine(torch.ones(2)), strict=True):
            assert one.dtype == other.dtype
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        halved = rows.divided(2.0)
        torch.testing.assert_close(halved.gramian(), rows.gramian() / 4)
        torch.testing.assert_close(halved.matrix(), rows.matrix() / 2)
        torch.testing.assert_close(halved.combine(torch.ones(2)), tuple(b / 2 for b in rows.combine(torch.ones(2))))


def test_not_finite_gradients_are_reported(network: TwoHeads, inputs: Tensor) -> None:
    z = network.trunk(inputs)
    losses = {"a": z.mean(), "b": (z - z).sum().sqrt(), "c": z.square().sum()}
    for rule in ("form", "ghost"):
        with pytest.raises(BalanceError, match=r"gradients of the tasks \['b'\] are not finite"):
            balance(losses, pcgrad(), shared=network, engine=LayerEngine(rule))


# -- the engine of balance() ------------------------------------------------------------------------------------------


def test_it_is_an_engine_and_belongs_to_a_balancer() -> None:
    assert isinstance(LayerEngine(), GradientEngine)
    layer, balancer = nn.Linear(2, 2), pcgrad()
    parameters = list(layer.parameters())
    found = default_engine(balancer, parameters, layer, needs_rows=False)
    assert found is default_engine(balancer, parameters, layer, needs_rows=False)
    assert found is not default_engine(pcgrad(), parameters, layer, needs_rows=False)
    assert default_engine(balancer, parameters, layer, needs_rows=True) is None
    assert default_engine(balancer, [], layer, needs_rows=False) is None
    hooked = nn.Linear(2, 2)
    hooked.register_backward_hook(lambda module, before, after: None)
    assert default_engine(balancer, parameters, hooked, needs_rows=False) is None
    assert LayerEngine().cost(parameters, 3) == AutogradEngine().cost(parameters, 3)


def test_gradients_of_balance_are_those_of_the_reference() -> None:
    """Shared part and heads, with every way to name the shared part; gradients arrive once."""
    for name in ("mlp", "transformer", "convolutions", "unused parameters", "frozen parameters"):
        torch.manual_seed(0)
        case = CASES[name]
        trunk, inputs, heads = case.make().double(), case.inputs(), heads_for(case.width)
        found: list[dict[str, Tensor | None]] = []
        both = nn.ModuleDict({"trunk": trunk, "heads": heads})
        for engine in (None, LayerEngine("ghost"), AutogradEngine()):
            torch.manual_seed(2)
            losses = masked_losses(heads, [trunk(inputs)] * 4)
            scalar = balance(
                dict(zip("abcd", losses, strict=True)), pcgrad(order="ascending"), shared=trunk, engine=engine
            )
            both.zero_grad()
            scalar.backward()
            found.append({key: parameter.grad for key, parameter in both.named_parameters()})
        for gradients in found[:2]:
            for key, expected in found[2].items():
                own = gradients[key]
                assert (own is None) == (expected is None), key
                if own is not None:
                    torch.testing.assert_close(own, expected, rtol=1e-11, atol=1e-13, msg=f"{name}: {key}")


def test_training_with_it_is_training() -> None:
    """Steps change what the next one sees; no state of an earlier one leaks into it."""
    ends = []
    for engine in (LayerEngine("ghost"), LayerEngine("form", "always"), AutogradEngine()):
        torch.manual_seed(0)
        # no bias before the normalisation: its gradient is rounding, which Adam would blow up
        trunk = nn.Sequential(nn.Linear(7, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 5)).double()
        heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(3)).double()
        optimiser = torch.optim.Adam([*trunk.parameters(), *heads.parameters()], lr=0.01)
        balancer = pcgrad(seed=1)
        for _ in range(5):
            x = rows_of(8)
            z = trunk(x)
            losses = {str(k): F.mse_loss(head(z)[:, 0], (k - 1) * x[:, k]) for k, head in enumerate(heads)}
            optimiser.zero_grad()
            balance(losses, balancer, shared=trunk, engine=engine).backward()
            optimiser.step()
        ends.append(torch.cat([parameter.detach().reshape(-1) for parameter in trunk.parameters()]))
    torch.testing.assert_close(ends[0], ends[2], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(ends[1], ends[2], rtol=1e-9, atol=1e-11)


def test_a_part_says_what_it_needs() -> None:
    layer = nn.Linear(2, 2)
    graph = Graph([layer(torch.ones(1, 2)).sum()])
    plan = LayerEngine("form").plan(graph, list(layer.parameters()))
    bare = part.Part(plan.layers[0], 1, LayerEngine()._pool.lease())
    for call in (
        lambda: bare.take(0, 0, torch.ones(1, 1, 2)),
        lambda: bare.gramian(),
        lambda: bare.combine(torch.ones(1)),
        lambda: bare.rows(),
    ):
        with pytest.raises(NotImplementedError):
            call()
