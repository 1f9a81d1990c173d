"""Convex quadratics: values by hand, and the closed form of their Pareto set."""

from __future__ import annotations

import pytest
import torch

from taskloom.data.problems import ConvexQuadratics, convex_quadratics
from taskloom.errors import DataError

TWO = ConvexQuadratics(
    torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 0.5], [0.5, 1.0]]], dtype=torch.float64),
    torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64),
)


def close(found: torch.Tensor, wanted: object) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_values_and_gradients() -> None:
    theta = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    # theta - a = (2, 1) and (3, -1): (2 * 4 + 4 * 1) / 2 and (9 - 2 * 1.5 + 1) / 2
    close(TWO.losses(theta).detach(), [6.0, 3.5])
    close(TWO.jacobian(theta), [[4.0, 4.0], [2.5, 0.5]])
    rows = [torch.autograd.grad(one, theta, retain_graph=True)[0] for one in TWO.losses(theta)]
    torch.testing.assert_close(torch.stack(rows), TWO.jacobian(theta))


def test_pareto_points() -> None:
    close(TWO.pareto_point([1.0, 0.0]), [1.0, 0.0])
    close(TWO.pareto_point([0.0, 2.0]), [0.0, 2.0])
    # (A_1 + A_2) theta = A_1 a_1 + A_2 a_2:  [[3, .5], [.5, 5]] theta = (2, 0) + (1, 2)
    close(TWO.pareto_point([1.0, 1.0]), [14 / 14.75, 4.5 / 14.75])
    close(TWO.pareto_point(torch.tensor([3.0, 3.0])), [14 / 14.75, 4.5 / 14.75])


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]], ids=str)
def test_pareto_points_have_usable_weights(weights: list[float]) -> None:
    with pytest.raises(DataError, match="expected 2 non-negative weights"):
        TWO.pareto_point(weights)


def test_drawn_problems() -> None:
    problem = convex_quadratics(3, 4, condition=7.0, seed=2)
    expected = torch.logspace(0, 1, 4, base=7.0, dtype=torch.float64).expand(3, 4)
    torch.testing.assert_close(torch.linalg.eigvalsh(problem.curvatures), expected)
    assert problem.minima.shape == (3, 4)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    assert (weights @ problem.jacobian(problem.pareto_point(weights))).abs().max() < 1e-12
    again, other = convex_quadratics(3, 4, condition=7.0, seed=2), convex_quadratics(3, 4, condition=7.0, seed=3)
    assert torch.equal(problem.curvatures, again.curvatures)
    assert not torch.equal(problem.minima, other.minima)


@pytest.mark.parametrize("wrong", [{"n_tasks": 0}, {"n_parameters": 0}, {"condition": 0.5}, {"spread": -1.0}], ids=str)
def test_numbers_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="n_tasks and n_parameters must be positive"):
        convex_quadratics(**wrong)  # type: ignore[arg-type]
