"""Products of rows that are made once are those of the centred rows for all weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_array

from taskloom.regularised import TaskCoupling, TaskData
from taskloom.regularised.coupled import row_products
from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled.row_products import RowProducts
from taskloom.regularised.coupled_logistic import solve_coupled_logistic


def wide(*, is_sparse: bool = False, fit_intercept: bool = True, mean: float = 0.0) -> TaskData:
    """Tasks of few rows; those of the second have no weight."""
    generator = np.random.default_rng(0)
    designs: Any = tuple(generator.normal(mean, 1.0, size=(n, 40)) for n in (6, 3, 9))
    if is_sparse:
        designs = tuple(csc_array(X * (generator.random(X.shape) < 0.3)) for X in designs)
    weights = tuple(generator.uniform(0.1, 1.0, X.shape[0]) * (X.shape[0] != 3) for X in designs)
    return TaskData(designs, tuple(np.resize([1.0, -1.0], len(w)) for w in weights), weights, fit_intercept)


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("fit_intercept", [False, True], ids=["without", "with_intercept"])
def test_as_products_of_centred_rows(is_sparse: bool, fit_intercept: bool) -> None:
    data = wide(is_sparse=is_sparse, fit_intercept=fit_intercept)
    rows = Centred.of(data)
    scaled = np.concatenate([rows.scaled_rows(task) for task in range(3)])
    known = Centred.of(data, row_products=RowProducts.of(data, is_shifted=fit_intercept))
    for one in (rows, known):
        np.testing.assert_allclose(one.inner_products(), scaled @ scaled.T, atol=1e-12)


def test_large_means_cost_no_digits() -> None:
    data = wide(mean=1e6)
    rows = Centred.of(data)
    scaled = np.concatenate([rows.scaled_rows(task) for task in range(3)])
    known = Centred.of(data, row_products=RowProducts.of(data, is_shifted=True))
    np.testing.assert_allclose(known.inner_products(), scaled @ scaled.T, atol=1e-7)


@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_newton_makes_them_once(is_sparse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = RowProducts.of.__func__  # type: ignore[attr-defined]

    def counted(cls: type[RowProducts], *given: Any, **named: Any) -> RowProducts:
        made.append(1)
        return original(cls, *given, **named)

    monkeypatch.setattr(row_products.RowProducts, "of", classmethod(counted))
    solution = solve_coupled_logistic(
        wide(is_sparse=is_sparse), TaskCoupling.to_mean(3, alpha=0.1, coupling=4.0), tol=1e-10
    )
    assert solution.converged
    assert solution.n_iterations > 2
    assert len(made) == 1
