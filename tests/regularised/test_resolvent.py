"""``(H + rho I)^-1`` from the products of samples."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.regularised._resolvent import Resolvent
from taskloom.regularised.risk import SquaredRisk, TaskData


@pytest.mark.parametrize("rho", [0.1, 1.0, 1e3])
@pytest.mark.parametrize("fit_intercept", [False, True], ids=["without", "with_intercept"])
def test_few_samples_of_own_designs(rho: float, fit_intercept: bool) -> None:
    """Samples that are equal, nearly equal and of very different lengths, and a number of them for each task."""
    generator = np.random.default_rng(0)
    designs = [generator.normal(size=(n, 30)) for n in (7, 4, 9)]
    designs[0][1], designs[2][3] = designs[0][0], designs[2][2] + 1e-9
    designs[2][5] *= 1e3
    data = TaskData(
        tuple(designs),
        tuple(generator.normal(size=len(X)) for X in designs),
        tuple(generator.uniform(0.5, 1.5, len(X)) / len(X) for X in designs),
        fit_intercept,
    )
    problem = SquaredRisk(data).least_squares
    resolvent = Resolvent(problem)
    assert resolvent.is_thin
    Q = generator.normal(size=(3, 30))
    H = problem.grams(np.arange(30))
    expected = np.linalg.solve(H + rho * np.eye(30), Q[..., None])[..., 0]
    found = resolvent.solve(Q, rho)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    np.testing.assert_allclose(resolvent.largest, np.linalg.eigvalsh(H)[:, -1], rtol=1e-10)
