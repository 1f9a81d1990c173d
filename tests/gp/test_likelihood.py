"""The log marginal likelihood and its derivatives, with and without the large matrix."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern

from taskloom.gp._dense import dense_likelihood, dense_posterior
from taskloom.gp._grid import grid_likelihood, grid_posterior
from taskloom.gp._hyperparameters import Hyperparameters, Packing
from taskloom.gp._observations import as_grid, as_points

GENERATOR = np.random.default_rng(0)
N, T = 12, 4
ROWS = np.concatenate([GENERATOR.normal(size=(N, 3)), np.zeros((2, 3))])  # the last two are one point
TABLE = GENERATOR.normal(size=(N + 2, T))
WEIGHTS = np.append(GENERATOR.uniform(0.5, 2.0, size=N), [1.0, 2.0])
KERNELS = [
    RBF(2.0),
    RBF([1.0, 2.0, 3.0]),
    RBF(2.0, length_scale_bounds="fixed"),
    ConstantKernel(0.5) * Matern(1.5, nu=1.5) + DotProduct(),
]
NAMES = ["isotropic", "anisotropic", "fixed", "composed"]


def given(kernel: object, *, rank: int = 2) -> Hyperparameters:
    generator = np.random.default_rng(1)
    return Hyperparameters(
        kernel, generator.normal(size=(T, rank)), generator.uniform(0.2, 1, T), generator.uniform(0.1, 1, T)
    )


def points():
    return as_points((ROWS,) * T, tuple(TABLE.T), (WEIGHTS,) * T)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
@pytest.mark.parametrize("shared_noise", [False, True])
def test_slopes_are_those_of_the_value(kernel: object, shared_noise: bool) -> None:
    start = given(kernel)
    packing = Packing(start, shared_noise)
    vector = packing.pack(start)
    _, slopes = dense_likelihood(points(), packing.unpack(vector))
    found = packing.gradient(packing.unpack(vector), slopes)
    step = 1e-5
    for position, one in enumerate(np.eye(len(vector))):
        up, down = (dense_likelihood(points(), packing.unpack(vector + sign * step * one))[0] for sign in (1, -1))
        assert found[position] == pytest.approx((up - down) / (2 * step), abs=2e-6)


@pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)
@pytest.mark.parametrize("rank", [0, 1, 4])
def test_both_forms_agree(kernel: object, rank: int) -> None:
    at = given(kernel, rank=rank)
    grid = as_grid(ROWS, TABLE, np.repeat(WEIGHTS[:, None], T, axis=1))
    assert grid is not None
    assert len(grid.inputs) == N + 1
    value, slopes = grid_likelihood(grid, at)
    other, others = dense_likelihood(points(), at)
    assert value == pytest.approx(other, rel=1e-11)
    for name in ("kernel", "tasks", "log_noise"):
        np.testing.assert_allclose(getattr(slopes, name), getattr(others, name), atol=1e-10)


def test_both_posteriors_agree() -> None:
    at = given(RBF(2.0))
    grid = as_grid(ROWS, TABLE, np.repeat(WEIGHTS[:, None], T, axis=1))
    assert grid is not None
    small, value = grid_posterior(grid, at)
    large, other = dense_posterior(points(), at)
    asked = np.random.default_rng(2).normal(size=(5, 3))
    prior = at.kernel.diag(asked)
    cross, wide = at.kernel(asked, small.points.inputs), at.kernel(asked, large.points.inputs)
    assert value == pytest.approx(other, rel=1e-12)
    np.testing.assert_allclose(small.mean_grid(cross), large.mean_grid(wide), atol=1e-12)
    np.testing.assert_allclose(small.variance_grid(cross, prior), large.variance_grid(wide, prior), atol=1e-12)


def test_a_covariance_that_is_not_positive_is_none() -> None:
    at = Hyperparameters(RBF(1e3), np.ones((T, 1)), np.zeros(T), np.full(T, 1e-300))
    assert dense_likelihood(points(), at) is None
    assert dense_posterior(points(), at) is None


def test_the_vector_stays_inside_its_bounds() -> None:
    start = Hyperparameters(RBF(2.0), np.zeros((T, 1)), np.zeros(T), np.full(T, 1e-9))
    packing = Packing(start, shared_noise=True)
    vector, bounds = packing.pack(start), packing.bounds
    assert len(vector) == len(bounds) == 1 + T + T + 1
    assert ((bounds[:, 0] <= vector) & (vector <= bounds[:, 1])).all()
