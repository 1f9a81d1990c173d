"""IMTL-G: closed forms, the paper's form, the sign of its weights, and the points where it has no solution."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from taskloom._rng import torch_stream
from taskloom.balance.reduce.config import config
from taskloom.balance.reduce.imtl_g import imtl_g
from taskloom.errors import BalanceError

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def jacobian(n_tasks: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n_tasks, size, generator=torch_stream(seed, "imtl_g"), dtype=torch.float64)


def by_the_paper(rows: Tensor) -> Tensor:
    """The published closed form, with the first task as the pivot."""
    units = rows / rows.norm(dim=1, keepdim=True)
    differences, angles = rows[0] - rows[1:], units[0] - units[1:]
    others = rows[0] @ angles.T @ torch.linalg.inv(differences @ angles.T)
    return torch.cat([1 - others.sum().reshape(1), others])


@settings(max_examples=40, deadline=None)
@given(first=st.floats(1e-3, 1e3), second=st.floats(1e-3, 1e3), angle=st.floats(0.05, math.pi - 0.05))
def test_two_tasks_in_closed_form(first: float, second: float, angle: float) -> None:
    rows = torch.tensor([[first, 0.0], [second * math.cos(angle), second * math.sin(angle)]], dtype=torch.float64)
    expected = torch.tensor([second, first], dtype=torch.float64) / (first + second)
    torch.testing.assert_close(imtl_g().weights(rows @ rows.T), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_tasks", [2, 3, 5, 10])
def test_agrees_with_the_published_form_and_projects_equally(n_tasks: int) -> None:
    rows = jacobian(n_tasks, 2 * n_tasks, seed=n_tasks)
    torch.testing.assert_close(
        imtl_g(sign_guard=False).weights(rows @ rows.T), by_the_paper(rows), rtol=1e-8, atol=1e-10
    )
    projections = rows @ imtl_g().direction(rows) / rows.norm(dim=1)
    torch.testing.assert_close(projections, projections[:1].expand(n_tasks), **CLOSE)


def test_the_guard_turns_an_ascent_into_a_descent() -> None:
    turned = 0
    for seed in range(60):
        generator = torch_stream(seed, "imtl_g ascent")
        rows = torch.randn(10, 30, generator=generator, dtype=torch.float64)
        rows += 2 * torch.randn(30, generator=generator, dtype=torch.float64)  # positively correlated
        rows *= 10 ** (2 * torch.rand(10, 1, generator=generator, dtype=torch.float64))
        published, guarded = imtl_g(sign_guard=False).direction(rows), imtl_g().direction(rows)
        assert bool((rows @ guarded > 0).all())
        if bool((rows @ published < 0).all()):
            turned += 1
            torch.testing.assert_close(guarded, -published, **CLOSE)
        else:
            torch.testing.assert_close(guarded, published, **CLOSE)
    assert turned >= 3


def test_weights_that_nearly_cancel_take_the_length_of_config() -> None:
    matrix = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.5], [0.1, 0.5, 1.0]], dtype=torch.float64)
    solution = torch.linalg.solve(matrix, torch.ones(3, dtype=torch.float64))
    assert sorted(solution.sign().tolist()) == [-1.0, 1.0, 1.0]
    norms = torch.ones(3, dtype=torch.float64)
    negative = int(solution.argmin())
    norms[negative] = -solution[negative] / (solution.sum() - solution[negative])  # sum of solution / norms is 0
    gramian = norms.unsqueeze(1) * matrix * norms
    for balancer in (imtl_g(), imtl_g(sign_guard=False)):
        weights = balancer.weights(gramian)
        torch.testing.assert_close(weights, config().weights(gramian), **CLOSE)
        assert float((gramian @ weights).min()) > 0


def test_zero_rows_are_dropped() -> None:
    rows = jacobian(4, 6)
    rows[2] = 0
    kept = [0, 1, 3]
    weights = imtl_g().weights(rows @ rows.T)
    assert float(weights[2]) == 0
    torch.testing.assert_close(weights[kept], imtl_g().weights(rows[kept] @ rows[kept].T), **CLOSE)


def test_all_zero_and_a_single_task() -> None:
    assert imtl_g().weights(torch.zeros(4, 4)).tolist() == [0.25] * 4
    assert imtl_g().weights(torch.tensor([[9.0]])).tolist() == [1.0]


def test_opposite_gradients_cancel() -> None:
    rows = jacobian(1, 5)
    rows = torch.cat([rows, -3 * rows])
    balancer = imtl_g()
    torch.testing.assert_close(balancer.direction(rows), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        balancer.weights(rows @ rows.T), torch.tensor([0.75, 0.25], dtype=torch.float64), **CLOSE
    )


def test_on_stationary_zero_stops_only_at_stationary_points() -> None:
    opposite = jacobian(1, 5)
    opposite = torch.cat([opposite, -3 * opposite])
    for rows in (opposite, jacobian(20, 3), torch.cat([opposite, torch.zeros(1, 5, dtype=torch.float64)])):
        weights = imtl_g(on_stationary="zero").weights(rows @ rows.T)
        assert weights.tolist() == [0.0] * len(rows)
    rows = jacobian(3, 6)
    rows[1] *= 1e6
    rows = torch.cat([rows, torch.zeros(1, 6, dtype=torch.float64)])  # a zero row is no stationary point
    gramian = rows @ rows.T
    torch.testing.assert_close(imtl_g(on_stationary="zero").weights(gramian), imtl_g().weights(gramian), **CLOSE)


def test_rank_deficient_and_badly_scaled_gradients_stay_accurate() -> None:
    rows = jacobian(5, 9)
    rows[3] = rows[1]  # a duplicate: C is singular, but 1 is in its range
    scaled = rows * 10.0 ** torch.tensor([[-3.0], [0.0], [3.0], [1.0], [-1.0]], dtype=torch.float64)
    units = rows / rows.norm(dim=1, keepdim=True)
    expected = units.T @ torch.linalg.pinv(units @ units.T, rtol=1e-10, hermitian=True).sum(1)
    for given_rows in (rows, scaled):
        found = imtl_g().direction(given_rows)
        torch.testing.assert_close(found / found.norm(), expected / expected.norm(), rtol=1e-8, atol=1e-10)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(BalanceError, match="on_stationary must be"):
        imtl_g(on_stationary="stop")
    assert repr(imtl_g()) == "chain(imtl_g())"
    assert repr(imtl_g(False, on_stationary="zero")) == "chain(imtl_g(sign_guard=False, on_stationary='zero'))"
