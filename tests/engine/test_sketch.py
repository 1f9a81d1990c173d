"""Projected inputs: unbiased, with an error that is known, and exact where the tolerance asks for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.engine.layer_networks import CASES, heads_for, jacobian, masked_losses
from torch import Tensor, nn

import taskloom as tl
from taskloom.engine import sketch
from taskloom.engine.combine import balance
from taskloom.engine.sketch import SketchedEngine
from taskloom.errors import EngineError

N_SEEDS = 200


class Repeated(nn.Module):
    """A wide layer that is called twice, with a bias and inputs that have a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(16, 40), nn.Linear(40, 40)

    def forward(self, x: Tensor) -> Tensor:
        return self.again(torch.relu(self.again(torch.relu(self.first(x))))).mean(1)


def _rows() -> Tensor:
    return torch.randn(30, 40, dtype=torch.float64) + 1


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], int]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(40, 30), nn.Tanh(), nn.Linear(30, 5, bias=False)), _rows, 5),
    "called twice": (Repeated, lambda: torch.randn(6, 5, 16, dtype=torch.float64), 40),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, 2, bias=False), nn.Flatten()
        ),
        lambda: torch.randn(5, 3, 7, 7, dtype=torch.float64),
        36,
    ),
}


def step_of(name: str, n_tasks: int = 3) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Losses, parameters and their exact inner products, in float64."""
    torch.manual_seed(0)
    make, inputs, width = NETWORKS[name]
    trunk, heads = make().double(), heads_for(width, n_tasks)
    losses = masked_losses(heads, [trunk(inputs())] * n_tasks, has_absent=False)
    parameters = [*trunk.parameters()]
    rows = jacobian(losses, parameters)
    return losses, parameters, rows @ rows.T


def relative(found: Tensor, exact: Tensor) -> Tensor:
    """Errors of inner products over the lengths of the gradients."""
    lengths = exact.diagonal().sqrt()
    return (found - exact) / (lengths[:, None] * lengths)


def sketched(seed: int, **settings: Any) -> SketchedEngine:
    return SketchedEngine(6, precision=torch.float64, tolerance=None, seed=seed, **settings)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_estimate_is_unbiased_and_its_error_covers_the_truth(name: str) -> None:
    losses, parameters, exact = step_of(name)
    errors, estimates = [], []
    for seed in range(N_SEEDS):
        engine = sketched(seed)
        errors.append(relative(engine.gramian(losses, parameters), exact))
        estimates.append(engine.last.error)
    found = torch.stack(errors)
    spread = found.std(0)
    assert float(spread.max()) > 0.01  # it is an estimate
    # the mean over seeds lies within four of its own standard errors of the truth, at every entry
    assert bool((found.mean(0).abs() <= 4 * spread / N_SEEDS**0.5 + 1e-12).all())
    # the estimated error is that of the worst entry, as it is over seeds
    typical = float(torch.tensor(estimates).square().mean().sqrt())
    assert 0.6 * float(spread.max()) < typical < 1.8 * float(spread.max())
    inside = (found.abs().amax((1, 2)) <= 3 * torch.tensor(estimates)).double().mean()
    assert float(inside) > 0.85


@pytest.mark.parametrize("name", NETWORKS)
def test_the_direction_is_exact_for_its_weights(name: str) -> None:
    losses, parameters, _ = step_of(name)
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    found = sketched(0).rows(losses, parameters).gradients(weights)
    expected = jacobian(losses, parameters).T @ weights
    torch.testing.assert_close(torch.cat([one.reshape(-1) for one in found if one is not None]), expected)


def test_more_columns_are_nearer() -> None:
    losses, parameters, exact = step_of("linear")
    errors = []
    for size in (4, 8, 16):
        engines = [SketchedEngine(size, precision=torch.float64, tolerance=None, seed=seed) for seed in range(40)]
        found = torch.stack([relative(one.gramian(losses, parameters), exact) for one in engines])
        errors.append(float(found.square().mean().sqrt()))
    assert errors[0] > 1.2 * errors[1] > 1.44 * errors[2]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("checkpoint", "hooks", "hook on a parameter")])
def test_other_networks(name: str) -> None:
    """Whatever cannot be sketched takes part exactly; what is measured is near, direction and heads exact."""
    torch.manual_seed(0)
    case = CASES[name]
    trunk, inputs, heads = case.make().double(), case.inputs(), heads_for(case.width)
    losses = masked_losses(heads, [trunk(inputs)] * len(heads))
    parameters = [parameter for parameter in trunk.parameters() if parameter.requires_grad]
    expected = jacobian(losses, parameters)
    engine = SketchedEngine(4, precision=torch.float64, tolerance=None)
    rows = engine.rows(losses, parameters)
    exact = expected @ expected.T
    assert engine.last.exact_because == ""
    lengths = exact.diagonal().sqrt()
    error = float(((rows.gramian() - exact).abs() / (lengths[:, None] * lengths).clamp(min=1e-300)).max())
    assert error <= 1e-12 if engine.last.error == 0 else error < 1.0


def test_a_large_error_is_measured_exactly_and_then_with_more_columns() -> None:
    losses, parameters, exact = step_of("linear")
    engine = SketchedEngine(4, precision=torch.float64, tolerance=1e-3)
    found = engine.gramian(losses, parameters)
    assert "exceeds the tolerance 0.001" in engine.last.exact_because
    torch.testing.assert_close(found, exact)
    while engine.last.exact_because:
        engine.gramian(losses, parameters)
    assert engine.last.error == 0.0  # twice and twice the columns: every layer takes part exactly in the end
    reasons = []
    for _ in range(sketch._PATIENCE + 2):
        engine.gramian(losses, parameters)
        reasons.append(engine.last.exact_because)
    assert not any(reasons[: sketch._PATIENCE // 2])
    assert any(reasons)  # after a while fewer columns are tried again


def test_a_step_draws_numbers_of_its_own_and_draws_them_again_when_it_is_repeated() -> None:
    losses, parameters, _ = step_of("linear")
    first, other = sketched(1), sketched(2)
    one, again = (first.gramian(losses, parameters) for _ in range(2))
    assert torch.equal(one, again)
    assert not torch.equal(other.gramian(losses, parameters), one)
    shifted = [loss + 1 for loss in losses]  # another step with the same gradients
    assert not torch.equal(first.gramian(shifted, parameters), one)


def test_random_numbers_of_the_user_are_left_alone() -> None:
    losses, parameters, _ = step_of("linear")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    sketched(0).gramian(losses, parameters)
    assert torch.equal(torch.rand(2), expected)


def test_a_hook_on_an_activation_is_noticed_in_the_third_step() -> None:
    torch.manual_seed(0)
    trunk, heads = nn.Sequential(nn.Linear(80, 30), nn.Tanh()), nn.ModuleList(nn.Linear(30, 1) for _ in range(2))
    engine, x = SketchedEngine(16, precision=torch.float32, tolerance=None), torch.randn(100, 80)

    def step(number: int) -> None:
        z = trunk[0](x)
        z.register_hook(lambda gradient: 3 * gradient)
        z = trunk[1](z)
        rows = engine.rows([(head(z) - number).square().mean() for head in heads], [*trunk.parameters()])
        rows.gradients(torch.tensor([1.0, 2.0]))

    for number in range(2):
        step(number)
    with pytest.warns(RuntimeWarning, match="not as long as the inner products"):
        step(2)
    step(3)
    assert "differed by" in engine.last.exact_because


def test_inputs_of_few_rows_and_narrow_layers_are_not_projected() -> None:
    torch.manual_seed(0)
    for layer, rows in ((nn.Linear(200, 8), 20), (nn.Linear(40, 8), 500)):
        z = layer(torch.randn(rows, layer.in_features))
        engine = SketchedEngine(32, precision=torch.float32)
        engine.gramian([z.square().mean(), (z - 1).square().mean()], [*layer.parameters()])
        assert engine.last.error == 0.0


def test_weights_of_a_step() -> None:
    losses, parameters, exact = step_of("linear")
    named = {f"t{k}": loss for k, loss in enumerate(losses)}
    balancer = tl.mgda()
    balance(
        named, balancer, shared=parameters, engine=SketchedEngine(16, precision=torch.float64, tolerance=None)
    ).backward()
    weights = tl.mgda().weights(exact)
    near = jacobian(losses, parameters).T @ weights
    flat = torch.cat([one.grad.reshape(-1) for one in parameters if one.grad is not None])
    assert float((flat - near).norm() / near.norm()) < 0.3


@pytest.mark.parametrize("size", [3, 2.5, True, "many"])
def test_a_wrong_size(size: Any) -> None:
    with pytest.raises(EngineError, match="size must be a whole number of columns"):
        SketchedEngine(size)


@pytest.mark.parametrize("tolerance", [0, -1.0, float("nan")])
def test_a_wrong_tolerance(tolerance: float) -> None:
    with pytest.raises(EngineError, match="tolerance must be a number above 0"):
        SketchedEngine(tolerance=tolerance)


def test_a_wrong_precision() -> None:
    with pytest.raises(EngineError, match="SketchedEngine: precision"):
        SketchedEngine(precision=torch.float16)


def test_an_engine_can_be_copied_and_shown() -> None:
    engine = copy.deepcopy(SketchedEngine(16, tolerance=0.2, seed=4))
    assert repr(engine) == "SketchedEngine(16, tolerance=0.2, seed=4)"
