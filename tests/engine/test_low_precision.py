"""Task gradients by replay: in full precision equal to the exact engine, in bfloat16 near it, wrong ones noticed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.engine.layer_networks import CASES, heads_for, jacobian, masked_losses
from torch import Tensor, nn

import taskloom as tl
from taskloom.engine import lean, low_precision
from taskloom.engine.combine import balance
from taskloom.engine.lean import LeanEngine
from taskloom.engine.low_precision import LowPrecisionEngine
from taskloom.engine.replay import measure, precision
from taskloom.engine.sketch import SketchedEngine
from taskloom.errors import EngineError

HANDED_OVER = {
    "checkpoint": "stored elsewhere",
    "hooks": "the operation BackwardHookFunction",
    "hook on a parameter": "has a hook",
}


def step_of(name: str) -> tuple[list[Tensor], list[Tensor]]:
    torch.manual_seed(0)
    case = CASES[name]
    trunk, inputs, heads = case.make().double(), case.inputs(), heads_for(case.width)
    losses = masked_losses(heads, [trunk(inputs)] * len(heads))
    return losses, [parameter for parameter in trunk.parameters() if parameter.requires_grad]


def flat(gradients: Any, parameters: list[Tensor]) -> Tensor:
    pairs = zip(gradients, parameters, strict=True)
    return torch.cat([(torch.zeros_like(one) if found is None else found).reshape(-1) for found, one in pairs])


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


class Small(nn.Module):
    """A trunk and three heads in float32."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(20, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 32), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(32, 1) for _ in range(3))

    def losses(self, seed: int = 0) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        inputs, targets = (torch.randn(*shape, generator=generator) for shape in ((48, 20), (3, 48)))
        z = self.trunk(inputs)
        return {
            f"t{k}": (head(z).squeeze(1) - target).square().mean()
            for k, (head, target) in enumerate(zip(self.heads, targets, strict=True))
        }


@pytest.mark.parametrize("together", [2, 10])
@pytest.mark.parametrize("name", CASES)
def test_replay_in_full_precision_is_exact(name: str, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_together", lambda *_: together)
    losses, parameters = step_of(name)
    expected = jacobian(losses, parameters)
    engine = LowPrecisionEngine(torch.float64)
    rows = engine.rows(losses, parameters)
    weights = torch.randn(len(losses), dtype=torch.float64)
    assert_near(rows.gramian(), expected @ expected.T, 1e-12)
    assert_near(flat(rows.gradients(weights), parameters), expected.T @ weights, 1e-12)
    assert_near(torch.cat(rows.combine(weights)), expected.T @ weights, 1e-12)
    assert_near(engine.gramian(losses, parameters), expected @ expected.T, 1e-12)
    reason = HANDED_OVER.get(name, "")
    assert reason in engine.last.exact_because
    assert bool(reason) == bool(engine.last.exact_because)
    for leaf in rows.leaves or ():
        task, gradient = rows.heads.get(id(leaf), (0, None))
        if gradient is not None:
            assert_near(gradient, torch.autograd.grad(losses[task], [leaf], retain_graph=True)[0], 1e-12)
    torch.stack(losses).sum().backward()  # the graph is still there


@pytest.mark.parametrize("name", [name for name in CASES if name not in HANDED_OVER])
def test_bfloat16_is_near_and_its_direction_exact(name: str) -> None:
    losses, parameters = step_of(name)
    expected = jacobian(losses, parameters)
    engine = LowPrecisionEngine(torch.bfloat16)
    rows = engine.rows(losses, parameters)
    gramian, lengths = expected @ expected.T, expected.norm(dim=1)
    scale = (lengths[:, None] * lengths).clamp(min=1e-300)
    assert 0 < float(((rows.gramian() - gramian).abs() / scale).max()) < 0.03
    weights = torch.linspace(1, 2, len(losses), dtype=torch.float64)
    assert_near(flat(rows.gradients(weights), parameters), expected.T @ weights, 1e-12)
    assert engine.last.gap is not None
    assert engine.last.gap < 0.03


@pytest.mark.parametrize(
    ("heads", "form"), [("weighted", "auto"), ("weighted", "weights"), ("weighted", "carrier"), ("unweighted", "auto")]
)
def test_balance_takes_the_weights_of_the_engine_and_the_exact_direction(heads: Any, form: Any) -> None:
    network, other = Small(), Small()
    engine, seen = LowPrecisionEngine(torch.bfloat16), tl.mgda()
    balance(
        network.losses(), seen, shared=network.trunk, engine=engine, head_gradient=heads, form=form, verify="always"
    ).backward()
    weights = tl.mgda().weights(
        LowPrecisionEngine(torch.bfloat16).gramian([*network.losses().values()], [*network.trunk.parameters()])
    )
    losses = other.losses()
    balance(losses, tl.fixed(weights.tolist()), shared=other.trunk, head_gradient=heads).backward()
    for (key, one), same in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, same.grad, rtol=1e-4, atol=1e-6, msg=lambda text, n=key: f"{n}: {text}")
    assert engine.last.exact_because == ""


def test_a_scaler_and_absent_tasks() -> None:
    network = Small()
    losses = [*network.losses().values(), None]
    parameters = [*network.trunk.parameters()]
    engine = LowPrecisionEngine(torch.float32)
    rows = engine.rows([None if one is None else 1024 * one for one in losses], parameters).divided(1024)
    expected = jacobian(losses, parameters)
    assert_near(rows.gramian(), (expected @ expected.T).double(), 1e-5)
    assert_near(flat(rows.gradients(torch.ones(4)), parameters), expected.sum(0), 1e-5)
    (task, gradient) = rows.heads[id(network.heads[1].weight)]
    assert task == 1
    torch.testing.assert_close(gradient, torch.autograd.grad(losses[1], [network.heads[1].weight])[0])
    assert rows.gramian()[3].abs().max() == 0


def test_a_hook_on_an_activation_is_noticed_and_the_engine_not_believed_again() -> None:
    network = Small()
    engine, balancer = LowPrecisionEngine(torch.bfloat16), tl.pcgrad()

    def step(**settings: Any) -> Tensor:
        z = network.trunk[:3](torch.randn(48, 20, generator=torch.Generator().manual_seed(3)))
        z.register_hook(lambda gradient: 3 * gradient)
        z = network.trunk[3:](z)
        losses = {f"t{k}": head(z).square().mean() + head(z).mean() for k, head in enumerate(network.heads)}
        return balance(losses, balancer, shared=network.trunk, engine=engine, verify="never", **settings)

    with pytest.warns(RuntimeWarning, match="not as long as the inner products"):
        step()
    assert engine.last.gap is not None
    assert engine.last.gap > 0.1
    step()
    assert "differed by" in engine.last.exact_because


@pytest.mark.parametrize(
    ("instructions", "reason"), [({}, "not quicker"), ({"avx512_bf16": True}, ""), ({"amx_bf16": True}, "")]
)
def test_the_default_looks_for_instructions(
    instructions: dict[str, bool], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: instructions, raising=False)
    network, engine = Small(), LowPrecisionEngine()
    engine.rows([*network.losses().values()], [*network.trunk.parameters()])
    assert reason in engine.last.exact_because
    assert bool(reason) == bool(engine.last.exact_because)


def test_few_channels_on_a_cpu_are_measured_exactly_by_default() -> None:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten())
    z = trunk(torch.randn(2, 1, 8, 8))
    losses = [z.mean(), z.square().mean()]
    for asked, is_exact in ((None, True), (torch.bfloat16, False)):
        engine = LowPrecisionEngine(asked)
        engine.rows(losses, [*trunk.parameters()])
        assert bool(engine.last.exact_because) == is_exact


def test_tasks_with_rows_of_their_own_are_measured_exactly() -> None:
    network = Small()
    z = network.trunk(torch.randn(48, 20)).split(16)
    losses = [head(own).square().mean() for head, own in zip(network.heads, z, strict=True)]
    engine = LowPrecisionEngine(torch.bfloat16)
    rows = engine.rows(losses, [*network.trunk.parameters()])
    assert "rows of its own" in engine.last.exact_because
    expected = jacobian(losses, [*network.trunk.parameters()])
    assert_near(rows.gramian(), (expected @ expected.T).double(), 1e-4)


def test_rows_with_few_labels_are_measured_exactly() -> None:
    torch.manual_seed(0)
    trunk, heads = nn.Sequential(nn.Linear(20, 64), nn.Tanh()), nn.ModuleList(nn.Linear(64, 1) for _ in range(6))
    z, task = trunk(torch.randn(60, 20)), torch.arange(60) % 6
    losses = [torch.where(task == k, head(z).squeeze(1).square(), 0).sum() for k, head in enumerate(heads)]
    engine = LowPrecisionEngine(torch.bfloat16)
    engine.rows(losses, [*trunk.parameters()])
    assert "few tasks" in engine.last.exact_because


@pytest.mark.parametrize("kind", ["autocast", "half precision parameters"])
@pytest.mark.parametrize("make", [LowPrecisionEngine, lambda: SketchedEngine(8, tolerance=None), LeanEngine])
def test_graphs_in_half_precision(kind: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(lean, "_WORTH_IT", float("inf"))
    network = Small()
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        if kind != "autocast":
            network = network.bfloat16()
        dtype = next(network.parameters()).dtype
        z = network.trunk(torch.randn(48, 20, generator=torch.Generator().manual_seed(0)).to(dtype))
        losses: list[Any] = [(head(z).float() - k).square().mean() for k, head in enumerate(network.heads)]
    parameters = [*network.trunk.parameters()]
    rows, exact = make().rows(losses, parameters), jacobian(losses, parameters).double()
    gramian, lengths = exact @ exact.T, exact.norm(dim=1)
    error = float(((rows.gramian() - gramian) / (lengths[:, None] * lengths)).abs().max())
    assert error < (0.6 if isinstance(make(), SketchedEngine) else 0.05)
    weights = torch.tensor([1.0, 2.0, 0.5])
    found = rows.gradients(weights)
    assert {one.dtype for one in found if one is not None} == {dtype}
    expected = exact.T @ weights.double()
    assert float((flat(found, parameters).double() - expected).norm() / expected.norm()) < 0.02


@pytest.mark.parametrize("balancer", [tl.graddrop, tl.moco])
def test_methods_that_want_rows_are_told(balancer: Any) -> None:
    network = Small()
    with pytest.raises(EngineError, match="LowPrecisionEngine keeps their inner products only"):
        balance(network.losses(), balancer(), shared=network.trunk, engine=LowPrecisionEngine(torch.bfloat16))


def test_methods_that_compare_batches_are_told() -> None:
    network = Small()
    engine = LowPrecisionEngine(torch.bfloat16)
    first, second = (engine.rows([*network.losses(s).values()], [*network.trunk.parameters()]) for s in (0, 1))
    with pytest.raises(EngineError, match="compares the gradients of two batches"):
        first.cross(second)


def test_a_freed_graph_is_explained() -> None:
    network = Small()
    losses = network.losses()
    torch.stack([*losses.values()]).sum().backward()
    with pytest.raises(EngineError, match="freed"):
        LowPrecisionEngine(torch.bfloat16).rows([*losses.values()], [*network.trunk.parameters()])


@pytest.mark.parametrize("given", [torch.float16, torch.int32, "bfloat16"])
def test_other_precisions_are_refused(given: Any) -> None:
    with pytest.raises(EngineError, match=r"precision must be torch\.bfloat16"):
        LowPrecisionEngine(given)


def test_an_engine_can_be_copied_and_shown() -> None:
    engine = copy.deepcopy(LowPrecisionEngine(torch.bfloat16))
    assert repr(engine) == "LowPrecisionEngine(torch.bfloat16)"
    assert repr(low_precision.LowPrecisionEngine()) == "LowPrecisionEngine()"
    assert engine.cost([torch.zeros(5)], 3).backward_passes == 4
