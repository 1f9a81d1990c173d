"""The two-task toy against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from taskloom.data.problems import TwoTaskToy
from taskloom.errors import DataError


def point(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def close(found: torch.Tensor, wanted: object) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kappa", [1.0, 0.1])
def test_far_below_the_losses_are_their_parabolas(kappa: float) -> None:
    # tanh(50) is 1 in float64: c_1 = 0, c_2 = 1, and down there (x_2 + 8)^2 / 10 = 92^2 / 10 = 846.4
    toy, x = TwoTaskToy(kappa), point(2.0, -100.0)
    close(toy.losses(x), [kappa * ((25 + 846.4) / 10 - 20), (81 + 846.4) / 10 - 20])
    close(toy.jacobian(x), [[kappa * -1.0, kappa * -1.84], [1.8, -1.84]])


@pytest.mark.parametrize("kappa", [1.0, 0.1])
def test_far_above_the_losses_are_their_logarithms(kappa: float) -> None:
    # c_1 = 1, t = -1: |(-1 - 7) / 2 + 1| = 3 and |(-1 + 3) / 2 - 1 + 2| = 2, both growing against -x_1 / 2
    toy, x = TwoTaskToy(kappa), point(1.0, 100.0)
    close(toy.losses(x), [kappa * (math.log(3) + 6), math.log(2) + 6])
    close(toy.jacobian(x), [[kappa / 6, 0.0], [-1 / 4, 0.0]])


def test_between_them() -> None:
    x, y = 1.5, -0.7
    t, half = math.tanh(0.7), math.tanh(0.35)
    square, slope = 1 - t**2, (1 - half**2) / 2
    # below 0 there is no c_1, and its logarithm plays no part
    right, left = ((7 - x) ** 2 + 7.3**2 / 10) / 10 - 20, ((x + 7) ** 2 + 7.3**2 / 10) / 10 - 20
    close(TwoTaskToy().losses(point(x, y)), [half * right, half * left])
    close(
        TwoTaskToy().jacobian(point(x, y)),
        [
            [half * (x - 7) / 5, half * 0.02 * 7.3 - slope * right],
            [half * (x + 7) / 5, half * 0.02 * 7.3 - slope * left],
        ],
    )
    y = 0.7  # above 0 it is the other way round; t changes its sign
    first, second = (-x - 7) / 2 + t, (-x + 3) / 2 - t + 2
    close(TwoTaskToy().losses(point(x, y)), [half * (math.log(-first) + 6), half * (math.log(second) + 6)])
    close(
        TwoTaskToy().jacobian(point(x, y)),
        [
            [half * -0.5 / first, half * square / first + slope * (math.log(-first) + 6)],
            [half * -0.5 / second, half * -square / second + slope * (math.log(second) + 6)],
        ],
    )


def test_both_maxima_have_slope_1_where_they_jump() -> None:
    # x_2 = 0: dc_1 = 1/2 and dc_2 = -1/2. Both cracks are log(3.5) + 6 there, both parabolas (49 + 6.4) / 10 - 20.
    close(TwoTaskToy().losses(point(0.0, 0.0)), [0.0, 0.0])
    down = (math.log(3.5) + 6) / 2 - (5.54 - 20) / 2
    close(TwoTaskToy().jacobian(point(0.0, 0.0)), [[0.0, down], [0.0, down]])


def test_the_bottom_of_a_crack_is_flat() -> None:
    # t = -1 far above: (-x_1 - 7) / 2 + 1 = 0 at x_1 = -5, and 5e-6 is what is left of it
    x = point(-5.0, 100.0)
    close(TwoTaskToy().losses(x), [math.log(5e-6) + 6, math.log(5) + 6])
    close(TwoTaskToy().jacobian(x), [[0.0, 0.0], [-0.1, 0.0]])


@pytest.mark.parametrize("kappa", [1.0, 0.1])
def test_closed_gradients_are_those_of_autograd(kappa: float) -> None:
    toy = TwoTaskToy(kappa)
    points = torch.cat(
        [10 * torch.randn(200, 2, dtype=torch.float64, generator=torch.manual_seed(0)), torch.zeros(1, 2)]
    )
    points = torch.cat([points, point(3.0, 0.0).unsqueeze(0)]).requires_grad_()
    rows = [torch.autograd.grad(one.sum(), points, retain_graph=True)[0] for one in toy.losses(points).unbind(-1)]
    torch.testing.assert_close(toy.jacobian(points), torch.stack(rows, 1), rtol=1e-10, atol=1e-10)
    assert not toy.jacobian(points).requires_grad


@pytest.mark.parametrize(
    ("kappa", "x", "losses"),
    [(1.0, (0.0, -8.3551), (-15.09, -15.09)), (0.1, (-5.7273, -8.4094), (-0.3798, -19.8275))],
    ids=["kappa=1", "kappa=0.1"],
)
def test_the_minimum_of_the_mean(kappa: float, x: tuple[float, float], losses: tuple[float, float]) -> None:
    toy = TwoTaskToy(kappa)
    torch.testing.assert_close(toy.losses(point(*x)), point(*losses), rtol=0, atol=5e-3)
    assert toy.jacobian(point(*x)).sum(0).abs().max() < 1e-4
    assert toy.in_valley(point(*x))


def test_in_valley() -> None:
    points = torch.tensor([[7.04, -8.36], [7.06, -8.36], [-7.04, -8.6], [0.0, -8.61], [0.0, -8.1], [-5.0, 3.0]])
    assert TwoTaskToy().in_valley(points).tolist() == [True, False, True, False, False, False]


@pytest.mark.parametrize("kappa", [0.0, -1.0, math.inf, math.nan])
def test_kappa_is_positive(kappa: float) -> None:
    with pytest.raises(DataError, match="kappa must be a positive number"):
        TwoTaskToy(kappa)
