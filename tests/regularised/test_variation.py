from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from taskloom.regularised import TaskData
from taskloom.regularised.variation import solve_variation
from taskloom.solvers.prox.variation import smooth_rows

RNG = np.random.default_rng(5)


def test_orthogonal_designs_are_the_proximal_operator() -> None:
    V = RNG.normal(size=(3, 6))
    data = TaskData((np.eye(3),) * 6, tuple(V.T), (np.ones(3),) * 6, fit_intercept=False)
    solution = solve_variation(data, 0.4, tol=1e-13, max_iterations=5000)
    assert solution.converged
    assert_allclose(solution.coefficients, smooth_rows(V, 0.4), atol=1e-6)


@pytest.mark.parametrize("n", [2, 12])
def test_the_bound_is_honest_from_the_first_iteration_on(n: int) -> None:
    """Also where the samples do not determine what the tasks have in common."""
    designs = tuple(RNG.normal(size=(n, 5)) for _ in range(4))
    targets = tuple(RNG.normal(size=n) for _ in range(4))
    data = TaskData(designs, targets, (np.full(n, 1 / n),) * 4, fit_intercept=True)
    best = solve_variation(data, 0.1, tol=1e-12, max_iterations=100_000)
    assert best.converged
    for steps in (10, 50):
        stopped = solve_variation(data, 0.1, tol=1e-12, max_iterations=steps)
        assert stopped.objective - stopped.gap <= best.objective + 1e-12
        assert stopped.objective >= best.objective - best.gap - 1e-12
    again = solve_variation(data, 0.1, tol=1e-12, max_iterations=100, start=best)
    assert again.n_iterations <= 20
