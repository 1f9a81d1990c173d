"""Half precision: balance() gives what the same method gives on K backward passes through the same autocast graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from taskloom.balance._features import at_features
from taskloom.balance.mix.pcgrad import pcgrad
from taskloom.balance.reduce.cagrad import cagrad
from taskloom.balance.reduce.mgda import mgda
from taskloom.balance.reduce.sum import equal
from taskloom.engine.autograd import AutogradEngine
from taskloom.engine.combine import balance
from taskloom.engine.layers.engine import LayerEngine
from taskloom.nn.fork import fork, gates

TASKS = ("a", "b", "c")
HALVES = [torch.bfloat16, torch.float16]
BALANCERS: dict[str, Any] = {
    "pcgrad": lambda: pcgrad(order="ascending"),
    "mgda": mgda,
    "cagrad": cagrad,
}


class Network(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(6, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, 16))
        self.heads = nn.ModuleList(nn.Linear(16, 1) for _ in TASKS)

    def losses(self, inputs: Tensor, dtype: torch.dtype | None, size: float = 1.0) -> dict[str, Tensor]:
        """``size`` makes losses small and gradients with them."""
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            z = self.trunk(inputs)
            outputs = [head(fork(z, task)) for task, head in zip(TASKS, self.heads, strict=True)]
        found = {}
        for place, (task, output) in enumerate(zip(TASKS, outputs, strict=True)):
            target = (-1.0) ** place * inputs.sum(1, keepdim=True) + place
            found[task] = size * (output.float() - target).square().mean()
        return found

    def gradients(self) -> dict[str, Tensor]:
        return {name: one.grad.clone() for name, one in self.named_parameters() if one.grad is not None}


def data(seed: int = 1) -> Tensor:
    return torch.randn(48, 6, generator=torch.Generator().manual_seed(seed))


def by_hand(network: Network, losses: Mapping[str, Tensor], balancer: Any, scale: float = 1.0) -> dict[str, Tensor]:
    """K backward passes, the method on their flat gradients, the gradient of its own loss for every head."""
    shared = dict(network.trunk.named_parameters(prefix="trunk"))
    rows, found = [], {}
    for place, loss in enumerate(losses.values()):
        row = torch.autograd.grad(scale * loss, list(shared.values()), retain_graph=True)
        rows.append(torch.cat([one.reshape(-1) for one in row]) / scale)
        own = network.heads[place]
        for name, one in own.named_parameters(prefix=f"heads.{place}"):
            found[name] = torch.autograd.grad(scale * loss, [one], retain_graph=True)[0] / scale
    direction = balancer.direction(torch.stack(rows), torch.stack([loss.detach() for loss in losses.values()]))
    sizes = [one.numel() for one in shared.values()]
    for (name, one), piece in zip(shared.items(), direction.split(sizes), strict=True):
        found[name] = piece.view_as(one)
    return found


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], **tolerances: float) -> None:
    assert set(found) == set(expected)
    for name, one in expected.items():
        torch.testing.assert_close(found[name], one, msg=lambda text, n=name: f"{n}: {text}", **tolerances)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", BALANCERS)
def test_autocast_agrees_with_a_pass_per_task(name: str, dtype: torch.dtype) -> None:
    network = Network()
    losses = network.losses(data(), dtype)
    expected = by_hand(network, losses, BALANCERS[name]())
    balance(losses, BALANCERS[name](), shared=network.trunk, head_gradient="unweighted").backward()
    assert_same(network.gradients(), expected, rtol=1e-5, atol=1e-7)
    assert {one.dtype for one in network.gradients().values()} == {torch.float32}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("engine", [AutogradEngine, LayerEngine])
@pytest.mark.parametrize("form", ["carrier", "gates"])
def test_error_against_full_precision_is_that_of_a_pass_per_task(form: Any, engine: Any, dtype: torch.dtype) -> None:
    for seed in range(3):
        exact = by_hand(net := Network(), net.losses(data(seed), None), BALANCERS["pcgrad"]())
        hand = by_hand(net := Network(), net.losses(data(seed), dtype), BALANCERS["pcgrad"]())
        network = Network()
        with gates():
            losses = network.losses(data(seed), dtype)
        balance(losses, BALANCERS["pcgrad"](), shared=network.trunk, form=form, engine=engine()).backward()
        own, reference = (
            torch.cat([(one[name] - exact[name]).reshape(-1) for name in exact]).norm()
            for one in (network.gradients(), hand)
        )
        assert 0 < own <= 1.5 * reference


@pytest.mark.parametrize("heads", ["weighted", "unweighted"])
@pytest.mark.parametrize("name", [*BALANCERS, "equal", "features"])
def test_small_gradients_survive_float16_with_a_scaler(name: str, heads: Any) -> None:
    """Losses of 1e-6: without a scale, gradients in float16 are zero or a few multiples of the smallest number."""
    make = {**BALANCERS, "equal": equal, "features": lambda: at_features(pcgrad(order="ascending"))}[name]
    scale = 2.0**17
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    network = Network()
    with gates():
        losses = network.losses(data(), torch.float16, size=1e-6)
    scaler.scale(balance(losses, make(), shared=network.trunk, head_gradient=heads, scaler=scaler)).backward()
    found = {key: one / scale for key, one in network.gradients().items()}
    network = Network()
    with gates():
        plain = network.losses(data(), None, size=1e-6)
    balance(plain, make(), shared=network.trunk, head_gradient=heads).backward()
    for key, one in network.gradients().items():
        error = float((found[key] - one).norm() / one.norm())
        assert error < 0.03, f"{key}: {error}"


def test_training_with_a_scaler_accumulation_and_clipping() -> None:
    """The usual loop: scale, accumulate, unscale, clip, step, update; a step that overflows is left out."""
    network, other = Network(), Network()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**18, growth_interval=3)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    reference = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    balancer, by = pcgrad(order="ascending"), pcgrad(order="ascending")
    taken = []
    for step in range(12):
        before = scaler.get_scale()
        for number in range(2):
            losses = network.losses(data(10 * step + number), torch.float16)
            scaler.scale(balance(losses, balancer, shared=network.trunk, scaler=scaler) / 2).backward()
        scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
        taken.append(scaler.get_scale() >= before)
        assert bool(torch.isfinite(norm)) == taken[-1]
        if taken[-1]:
            for number in range(2):
                losses = other.losses(data(10 * step + number), torch.float16)
                for name, one in by_hand(other, losses, by, scale=before).items():
                    parameter = other.get_parameter(name)
                    parameter.grad = one / 2 if parameter.grad is None else parameter.grad + one / 2
            nn.utils.clip_grad_norm_(other.parameters(), 0.5)
            reference.step()
            reference.zero_grad()
        for name, one in network.named_parameters():
            torch.testing.assert_close(one, other.get_parameter(name), rtol=1e-5, atol=1e-6)
    assert not taken[0]
    assert sum(taken) > 5


def test_parameters_in_half_precision() -> None:
    network = Network().bfloat16()
    losses = network.losses(data().bfloat16(), None)
    balance(losses, pcgrad(order="ascending"), shared=network.trunk, verify="always").backward()
    expected = by_hand(network, losses, pcgrad(order="ascending"))
    for name, one in network.gradients().items():
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, expected[name], rtol=2e-2, atol=2e-3)
