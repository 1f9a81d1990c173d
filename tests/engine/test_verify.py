"""The first-step check notices engines and graphs that are wrong, and nothing else."""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from tests.engine.processes import on_two_ranks
from torch import Tensor, nn

from taskloom.balance.base import RowRule, chain
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.sum import equal
from taskloom.balance.scale.fixed import fixed, scale_by
from taskloom.balance.wrap.every import every
from taskloom.engine import _verify
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.base import Cost, ParameterRows
from taskloom.engine.combine import balance
from taskloom.engine.measure import measure
from taskloom.errors import BalanceError, EngineError

TASKS = ("a", "b", "c")


class Wrong:
    """An engine with one fault."""

    def __init__(self, fault: str = "none") -> None:
        self.fault = fault

    def rows(self, losses: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> ParameterRows:
        rows = AutogradEngine().rows(losses, parameters)
        (block,) = (one.clone() for one in rows.blocks)
        if self.fault == "scaled":
            block *= 1.01
        elif self.fault == "one row scaled":
            block[1] *= 2
        elif self.fault == "rows exchanged":
            block[:2] = block[:2].flip(0)
        elif self.fault == "one parameter dropped":
            width = parameters[0].numel()
            block[:, width : width + parameters[1].numel()] = 0
        elif self.fault == "one entry":
            block[0, 3] += block[0, 3].abs() * 0.01 + 0.01
        elif self.fault == "not averaged":
            block[:] = torch.cat(
                [torch.cat([g.reshape(-1) for g in _own(loss, parameters)])[None] for loss in losses], dim=0
            )
        return replace(rows, blocks=(block,))

    def gramian(self, losses: Any, parameters: Any) -> Tensor:
        return self.rows(losses, parameters).gramian()

    def cost(self, parameters: Any, n_tasks: int) -> Cost:
        return Cost(n_tasks, 0)


def _own(loss: Tensor | None, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    assert loss is not None
    return torch.autograd.grad(loss, parameters, retain_graph=True)


# -- engines that are wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["scaled", "one row scaled", "rows exchanged", "one parameter dropped", "one entry"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_wrong_engine_is_noticed(network: TwoHeads, inputs: Tensor, fault: str, dtype: torch.dtype) -> None:
    network, inputs = network.to(dtype), inputs.to(dtype)
    balancer = pcgrad(order="ascending")
    for _ in range(2):  # a failed check does not count as made, and no step was
        with pytest.raises(EngineError, match="Wrong measured do not add up"):
            balance(network.losses(inputs), balancer, shared=network, engine=Wrong(fault))
    assert balancer.n_steps == 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_parameter_is_named(network: TwoHeads, inputs: Tensor) -> None:
    engine = Wrong("one parameter dropped")
    with pytest.raises(
        EngineError, match=r"at 1 of 3 shared parameters; 'trunk\.2\.weight' \(number 1\) of shape \(4, 5\): off"
    ):
        balance(network.losses(inputs), pcgrad(), shared=network, engine=engine)
    with pytest.raises(EngineError, match=r"number 1 of shape \(4, 5\): off by 100\.0% of its size .*verify='never'"):
        balance(network.losses(inputs), pcgrad(), shared=network.shared_parameters(), engine=engine)


def test_a_right_engine_passes_and_is_checked_once_per_pair(
    network: TwoHeads, inputs: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []
    monkeypatch.setattr(_verify, "_squares", lambda *given, plain=_verify._squares: checks.append(1) or plain(*given))

    def step(balancer: Any, **options: Any) -> int:
        checks.clear()
        balance(network.losses(inputs), balancer, shared=network, **options).backward()
        return len(checks)

    balancer, engine = pcgrad(), Wrong()
    assert [step(balancer), step(balancer)] == [1, 0]
    assert [step(balancer, engine=engine), step(balancer, engine=engine), step(balancer, engine=Wrong())] == [1, 0, 1]
    assert [step(balancer, verify="always"), step(balancer, verify="always")] == [1, 1]
    assert [step(pcgrad(), verify="never"), step(copy.deepcopy(balancer)), step(equal())] == [0, 1, 0]
    now_and_then = every(2, pcgrad())
    assert [step(now_and_then) for _ in range(4)] == [1, 0, 0, 0]
    with pytest.raises(BalanceError, match="verify must be one of"):
        step(balancer, verify="sometimes")


def test_balancers_are_not_kept_alive() -> None:
    gc.collect()
    before = len(_verify._done)
    balancer = pcgrad()
    theta = torch.ones(2, requires_grad=True)
    balance({"a": theta.sum(), "b": theta[0] ** 2}, balancer, shared=[theta])
    assert len(_verify._done) == before + 1
    del balancer
    gc.collect()
    assert len(_verify._done) <= before


# -- graphs that are wrong --------------------------------------------------------------------------------------------


class _Clipped(torch.autograd.Function):
    """Not linear backwards."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.clamp(-0.1, 0.1)


class _UsedUp(torch.autograd.Function):
    """Changes what it has saved."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.factor = torch.ones_like(z)
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        ctx.factor *= 0.5
        return gradient * ctx.factor


class _Reversed(torch.autograd.Function):
    """Not the gradient of its forward pass, but linear: allowed."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        return z.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return -gradient


def _through(network: TwoHeads, inputs: Tensor, function: Any) -> dict[str, Tensor]:
    z = function(network.trunk(inputs))
    return {
        task: (head(z) - k).square().mean() for k, (task, head) in enumerate(zip(TASKS, network.heads, strict=True))
    }


@pytest.mark.parametrize("function", [_Clipped, _UsedUp])
def test_backward_passes_that_are_not_linear(network: TwoHeads, inputs: Tensor, function: Any) -> None:
    with pytest.raises(EngineError, match=r"Engine measured do not add up.*'trunk\.[02]\.\w+'.*not linear"):
        balance(_through(network, inputs, function.apply), pcgrad(), shared=network)
    balance(_through(network, inputs, function.apply), pcgrad(), shared=network, verify="never").backward()


def test_hooks_that_are_not_linear(network: TwoHeads, inputs: Tensor) -> None:
    def clipped(z: Tensor) -> Tensor:
        z.register_hook(lambda gradient: gradient.clamp(-0.1, 0.1))
        return z

    with pytest.raises(EngineError, match="do not add up"):
        balance(_through(network, inputs, clipped), pcgrad(), shared=network)


class _Signs(RowRule):
    def combine(self, rows: Tensor) -> Tensor:
        return rows.sign().sum(0)


@pytest.mark.parametrize("balancer", [pcgrad(), chain(_Signs())], ids=["pcgrad", "signs"])
def test_what_is_linear_passes(network: TwoHeads, inputs: Tensor, balancer: Any) -> None:
    for function in (_Reversed.apply, nn.Dropout(0.5), torch.relu, nn.BatchNorm1d(4).double(), lambda z: z * 0):
        losses = _through(network, inputs, function)
        balance(losses, balancer, shared=network, verify="always").backward()


def test_gradients_that_cancel_pass() -> None:
    """Biases before a normalisation have gradients that are nothing but rounding."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    for seed in range(5):
        torch.manual_seed(seed)
        z = trunk(torch.randn(16, 3, 12, 12)).flatten(2).transpose(1, 2)
        z, _ = attention(z, z, z)
        losses = {"a": z.square().mean(), "b": -z.square().mean() + 1e-3 * z.mean(), "c": z[..., 0].mean()}
        shared = nn.ModuleList([trunk, attention])
        balance(losses, pcgrad(), shared=shared, verify="always").backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_passes_and_is_still_checked(dtype: torch.dtype) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        trunk = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 16))
        heads = nn.ModuleList(nn.Linear(16, 1) for _ in TASKS)
        with torch.autocast("cpu", dtype):
            z = trunk(torch.randn(64, 6))
            outputs = [head(z).float() for head in heads]
        losses = {
            task: (output - k).square().mean() for k, (task, output) in enumerate(zip(TASKS, outputs, strict=True))
        }
        balance(losses, pcgrad(), shared=trunk, verify="always")
        with pytest.raises(EngineError, match="do not add up"):
            balance(losses, pcgrad(), shared=trunk, engine=Wrong("one row scaled"))


def test_overflow_is_reported_as_such(network: TwoHeads, inputs: Tensor) -> None:
    losses = network.losses(inputs)
    z = network.trunk(inputs)
    losses["b"] = (z - z).sum().sqrt()  # 0 with an infinite slope
    with pytest.raises(BalanceError, match=r"gradients of the tasks \['b'\] are not finite"):
        balance(losses, pcgrad(), shared=network)


# -- several ranks ----------------------------------------------------------------------------------------------------


def _message(rank: int, step: Any) -> str:
    try:
        step(rank)
    except EngineError as error:
        return str(error)
    return ""


def _on_ranks(rank: int) -> dict[str, str]:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).chunk(2)[rank]

    def one_is_wrong(rank: int) -> None:
        network = TwoHeads()
        engine = Wrong("scaled" if rank == 1 else "none")
        balance(network.losses(inputs), pcgrad(), shared=network, engine=engine)

    def none_averages(rank: int) -> None:
        network = TwoHeads()
        balance(network.losses(inputs), pcgrad(), shared=network, engine=Wrong("not averaged"))

    def weights_differ(rank: int) -> None:
        network = TwoHeads()
        losses = network.losses(inputs, ("a", "b"))
        balance(losses, chain(scale_by([1.0, 1.0 + 0.1 * rank]), pcgrad(order="ascending")), shared=network)

    def losses_only(rank: int) -> None:
        network = TwoHeads()
        balance(network.losses(inputs), fixed([1.0, 1.0, 1.0 + rank]), shared=network)

    def directions_differ(rank: int) -> None:
        class OwnSigns(RowRule):
            def combine(self, rows: Tensor) -> Tensor:
                return rows.sign().sum(0) * (1 + rank)

        network = TwoHeads()
        balance(network.losses(inputs), chain(OwnSigns()), shared=network)

    def tasks_differ(rank: int) -> None:
        network = TwoHeads()
        losses = network.losses(inputs, ("a", "b") if rank == 0 else ("a", "c"))
        balance(losses, pcgrad(), shared=network)

    def measured_tasks_differ(rank: int) -> None:
        network = TwoHeads()
        measure(network.losses(inputs, TASKS[: 3 - rank]), shared=network)

    def order_differs(rank: int) -> None:
        losses = TwoHeads().losses(inputs)
        balance(dict(reversed(losses.items())) if rank else losses, equal(), shared=TwoHeads())

    def all_is_well(rank: int) -> None:
        network = TwoHeads()
        balancer = pcgrad()
        balancer.bind(TASKS)
        for _ in range(2):
            balance(network.losses(inputs, TASKS[: 3 - rank]), balancer, shared=network, verify="always")

    steps = (
        one_is_wrong,
        none_averages,
        weights_differ,
        losses_only,
        directions_differ,
        tasks_differ,
        measured_tasks_differ,
        order_differs,
        all_is_well,
    )
    return {step.__name__: _message(rank, step) for step in steps}


def test_ranks_that_disagree_are_noticed_by_all() -> None:
    for found in on_two_ranks(_on_ranks):
        assert "do not add up" in found["one_is_wrong"]
        assert "do not add up" in found["none_averages"]
        for name in ("weights_differ", "losses_only", "directions_differ"):
            assert "the ranks have found different weights" in found[name], name
        assert "different tasks" in found["tasks_differ"]
        assert "different tasks" in found["measured_tasks_differ"]
        assert "different tasks" in found["order_differs"]
        assert found["all_is_well"] == ""
