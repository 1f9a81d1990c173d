"""Projection on the simplex, within bounds, in batches and under transforms."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import grad, vmap

from taskloom._rng import torch_stream
from taskloom.balance._simplex import project_simplex
from taskloom.errors import BalanceError


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_stream(0, "simplex", *shape), dtype=torch.float64)


numbers = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_the_nearest_point_of_the_simplex(values: list[float]) -> None:
    v = torch.tensor(values, dtype=torch.float64)
    w = project_simplex(v)
    assert float(w.min()) >= 0
    assert float(w.sum()) == pytest.approx(1.0, abs=1e-10)
    # v - w is the same number where w > 0, and no larger elsewhere
    shift = v - w
    assert float(shift.max() - shift[w > 0].min()) <= 1e-9
    torch.testing.assert_close(project_simplex(w), w, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(numbers, st.floats(0, 1), st.floats(0, 1))
def test_the_nearest_point_within_bounds(values: list[float], below: float, above: float) -> None:
    v, n = torch.tensor(values, dtype=torch.float64), len(values)
    low, high = below / n, 1 / n + above * (1 - 1 / n)
    w = project_simplex(v, low, high)
    assert low - 1e-12 <= float(w.min()) <= float(w.max()) <= high + 1e-12
    assert float(w.sum()) == pytest.approx(1.0, abs=1e-9)
    shift, free = v - w, (w > low + 1e-9) & (w < high - 1e-9)
    if bool(free.any()):
        level = shift[free].mean()
        assert float((shift[free] - level).abs().max()) <= 1e-7
        assert bool((shift[w >= high - 1e-9] >= level - 1e-7).all())
        assert bool((shift[w <= low + 1e-9] <= level + 1e-7).all())


def test_bounds_that_leave_no_choice() -> None:
    v = torch.tensor([3.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    assert project_simplex(v, low=0.25).tolist() == [0.25] * 4
    torch.testing.assert_close(project_simplex(v, high=0.25), torch.full((4,), 0.25, dtype=torch.float64))
    assert project_simplex(v[:1]).tolist() == [1.0]


def test_bounds_that_cannot_be_kept_are_named() -> None:
    for low, high in [(0.4, 1.0), (0.0, 0.2)]:
        with pytest.raises(BalanceError, match="no 3 numbers between"):
            project_simplex(torch.zeros(3), low, high)


def test_batches_transforms_and_devices() -> None:
    v = rows(5, 4)
    for bounds in ({}, {"low": 0.1, "high": 0.6}):
        expected = torch.stack([project_simplex(row, **bounds) for row in v])
        torch.testing.assert_close(project_simplex(v, **bounds), expected)
        torch.testing.assert_close(vmap(lambda row, bounds=bounds: project_simplex(row, **bounds))(v), expected)
        assert project_simplex(v.to("meta"), **bounds).shape == (5, 4)
    slope = grad(lambda row: project_simplex(row)[0])(torch.tensor([0.5, 0.4, -3.0]))
    torch.testing.assert_close(slope, torch.tensor([0.5, -0.5, 0.0]))
