"""Inner products of rows: those of NumPy in float64, for every shape of the last tile."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.solvers.row_products import IS_COMPILED, inner_products


def rows(n: int, size: int, dtype: type[np.floating], seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, n, size]).normal(size=(n, size)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("size", [1, 7, 1024, 2500])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_rows_with_themselves(n: int, size: int, dtype: type[np.floating]) -> None:
    one = rows(n, size, dtype)
    exact = one.astype(np.float64) @ one.astype(np.float64).T
    np.testing.assert_allclose(inner_products(one, one), exact, rtol=0, atol=4 * float(np.finfo(dtype).eps) * size)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2), (2, 7), (5, 4)], ids=str)
def test_rows_with_others(shape: tuple[int, int]) -> None:
    left, right = rows(shape[0], 1500, np.float64), rows(shape[1], 1500, np.float64, 1)
    np.testing.assert_allclose(inner_products(left, right), left @ right.T, rtol=1e-12, atol=1e-11)


def test_rows_that_are_part_of_longer_ones() -> None:
    whole = rows(4, 3000, np.float32)
    part = whole[1:, 100:2900]
    np.testing.assert_array_equal(inner_products(part, part), inner_products(part.copy(), part.copy()))


def test_nothing_to_multiply() -> None:
    np.testing.assert_array_equal(inner_products(np.zeros((2, 0)), np.zeros((3, 0))), np.zeros((2, 3)))
    assert inner_products(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_what_is_not_finite_stays_so() -> None:
    one = rows(3, 2000, np.float32)
    one[0, 5], one[1, 1800] = np.nan, np.inf
    found = inner_products(one, one)
    assert np.isnan(found[0]).all()
    assert found[1, 1] == np.inf
    assert np.isfinite(found[2, 2])


@pytest.mark.skipif(not IS_COMPILED, reason="without numba it is a product in float64")
def test_sums_of_stretches_are_added_up_in_float64() -> None:
    """Eight million ones: float32 would stop at 2^24 per sum, and a single sum of it is wrong long before."""
    one = np.full((1, 1 << 25), 1.0 + 2.0**-12, dtype=np.float32)
    exact = (1 << 25) * float(one[0, 0]) ** 2
    assert inner_products(one, one)[0, 0] == pytest.approx(exact, rel=1e-6)
