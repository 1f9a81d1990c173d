"""What a balancer writes down about its steps: what was left out, dropped, zero, or without a solution."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tests.engine.conftest import TwoHeads
from torch import Tensor, nn

import taskloom as tl
from taskloom.balance import Diagnostics
from taskloom.balance.base import Balancer, chain
from taskloom.balance.scale.fixed import scale_by
from taskloom.engine.combine import balance

TASKS = ("a", "b", "c")
OPPOSED = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
AROUND = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]], dtype=torch.float64)
LEANING = torch.tensor([[1.0, 0.0, 0.2], [0.5, 0.8, -0.1], [-0.3, -0.2, 1.0]], dtype=torch.float64)
UNEQUAL = LEANING * torch.tensor([[1e-3], [1.0], [1e3]], dtype=torch.float64)

SOLVED: dict[str, Any] = {
    "nash_mtl": tl.nash_mtl,
    "nash_mtl, zero": lambda: tl.nash_mtl(on_stationary="zero"),
    "fairgrad": tl.fairgrad,
    "fairgrad, 0.5": lambda: tl.fairgrad(0.5),
    "fairgrad, 10": lambda: tl.fairgrad(10.0),
    "fairgrad, zero": lambda: tl.fairgrad(on_stationary="zero"),
    "config": tl.config,
    "config, zero": lambda: tl.config(on_stationary="zero"),
    "config, preference": lambda: tl.config(preference=[1.0, 2.0, 0.5]),
    "imtl_g": tl.imtl_g,
    "imtl_g, zero": lambda: tl.imtl_g(on_stationary="zero"),
}


@pytest.mark.parametrize("name", SOLVED)
def test_points_without_a_solution_are_counted(name: str) -> None:
    """Where the origin is in the hull of the gradients, and only there."""
    balancer = SOLVED[name]()
    for jacobian in (LEANING, UNEQUAL, LEANING.float(), LEANING[[0, 1, 1]] + 1e-3 * LEANING):
        balancer.direction(jacobian)
    assert balancer.diagnostics.n_fallbacks == 0
    scaled = AROUND * torch.tensor([[1e-3], [1.0], [1e3]], dtype=torch.float64)
    for count, jacobian in enumerate((OPPOSED, AROUND, 1e-4 * AROUND, OPPOSED.float(), scaled)):
        balancer.direction(jacobian)
        assert balancer.diagnostics.n_fallbacks == count + 1
    balancer.direction(torch.zeros(3, 2, dtype=torch.float64))  # nothing to solve
    assert balancer.diagnostics.n_fallbacks == 5


@pytest.mark.parametrize("rounding", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_tasks", [2, 3, 10, 40])
@pytest.mark.parametrize("make", [tl.nash_mtl, tl.fairgrad])
def test_every_size_and_precision(make: Any, n_tasks: int, rounding: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(n_tasks)
    rows = torch.randn(n_tasks, 2 * n_tasks, generator=generator, dtype=torch.float64)
    norms = 10 ** (4 * torch.rand(n_tasks, 1, generator=generator, dtype=torch.float64) - 2)
    closed = torch.cat([rows[:-1], -rows[:-1].mean(0, keepdim=True)])
    balancer = make()
    balancer.direction((norms * (rows + 1)).to(rounding))
    assert balancer.diagnostics.n_fallbacks == 0
    balancer.direction((norms * closed).to(rounding))
    assert balancer.diagnostics.n_fallbacks == 1


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: chain(scale_by([2.0, 3.0, 0.5]), inner),
        lambda inner: tl.every(2, inner),
        lambda inner: tl.smoothed(0.5, inner),
        lambda inner: tl.warm_up(0, inner),
        lambda inner: tl.only(["a", "b"], inner),
        lambda inner: chain(inner, tl.clip(0.5)),
        lambda inner: tl.at_features(inner),
    ],
    ids=["scale", "every", "smoothed", "warm_up", "only", "clip", "at_features"],
)
def test_wrappers_pass_it_on(around: Any) -> None:
    balancer = around(tl.nash_mtl())
    balancer.bind(TASKS)
    balancer.weights(OPPOSED @ OPPOSED.T)
    assert balancer.diagnostics.n_fallbacks == 1


def test_methods_without_an_equation_count_nothing() -> None:
    for balancer in (tl.mgda(), tl.pcgrad(), tl.upgrad(), tl.equal()):
        balancer.weights(OPPOSED @ OPPOSED.T)
        assert balancer.diagnostics == Diagnostics(
            last_tasks=balancer.diagnostics.last_tasks,
            _weights=balancer.diagnostics._weights,
            _gramian=balancer.diagnostics._gramian,
        )


def test_the_last_step() -> None:
    network, inputs = TwoHeads(), torch.eye(3, dtype=torch.float64)
    for balancer in (tl.pcgrad(order="ascending"), tl.fixed([1.0, 2.0, 3.0])):
        balancer.bind(TASKS)
        assert balancer.diagnostics.last_weights == {}
        assert balancer.diagnostics.last_cosines is None
        balance(network.losses(inputs), balancer, shared=network).backward()
        weights = balancer.diagnostics.last_weights
        assert tuple(weights) == TASKS
        cosines = balancer.diagnostics.last_cosines
        if balancer.needs_gramian:
            assert cosines is not None
            torch.testing.assert_close(cosines, tl.measure(network.losses(inputs), shared=network).cosines)
        else:
            assert cosines is None
            assert weights == {"a": 1.0, "b": 2.0, "c": 3.0}
        balance(network.losses(inputs, ("b", "c")), balancer, shared=network)
        assert tuple(balancer.diagnostics.last_weights) == ("b", "c")
        assert not any(
            value.requires_grad for value in vars(balancer.diagnostics).values() if isinstance(value, Tensor)
        )


def test_steps_left_out_tasks_dropped_and_zero_gradients() -> None:
    network, inputs, balancer = TwoHeads(), torch.eye(3, dtype=torch.float64), tl.pcgrad()

    def give(**choices: Any) -> None:
        losses = network.losses(inputs)
        losses["b"] = 0 * losses["b"]
        losses["c"] = losses["c"] * choices.pop("factor", 1.0)
        balance(losses, balancer, shared=network, **choices)

    give()
    give(factor=float("nan"), on_nonfinite="skip")
    give(factor=float("nan"), on_nonfinite="drop")
    give(factor=float("inf"), on_nonfinite="drop")
    found = balancer.diagnostics
    assert (found.n_skipped, found.n_dropped, found.n_zero) == (1, {"c": 2}, {"b": 3})
    assert balancer.n_skipped == 1
    assert found.text() == (
        "1 steps left out as not finite, 0 without a solution; not finite and dropped: 'c' 2; zero gradients: 'b' 3"
    )


def test_counts_are_part_of_the_state() -> None:
    balancer = tl.nash_mtl()
    balancer.weights(OPPOSED @ OPPOSED.T)
    balancer.diagnostics.n_skipped = 4
    other: Balancer = tl.nash_mtl()
    other.load_state_dict(balancer.state_dict())
    assert (other.diagnostics.n_skipped, other.diagnostics.n_fallbacks) == (4, 1)
    copied = copy.deepcopy(balancer)
    balancer.reset()
    assert (balancer.diagnostics, copied.diagnostics.n_fallbacks) == (Diagnostics(), 1)


def test_a_module_that_holds_a_balancer_saves_the_counts_too() -> None:
    module = nn.ModuleDict({"balancer": tl.nash_mtl()})
    module["balancer"].weights(OPPOSED @ OPPOSED.T)
    other = nn.ModuleDict({"balancer": tl.nash_mtl()})
    other.load_state_dict(module.state_dict())
    assert other["balancer"].diagnostics.n_fallbacks == 1
