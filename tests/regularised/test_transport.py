from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.sparse import csc_array

from taskloom.regularised import EntryNorm, SquaredRisk, TaskData
from taskloom.regularised.solve import solve
from taskloom.regularised.transport import TransportConjugate, solve_transport

RNG = np.random.default_rng(83)
PLACES = np.arange(6.0)
COST = np.subtract.outer(PLACES, PLACES) ** 2 / 4


def data(d: int = 6, n_rows: tuple[int, ...] = (9, 5, 7), seed: int = 0) -> TaskData:
    rng = np.random.default_rng([seed, d])
    designs = tuple(rng.normal(size=(n, d)) for n in n_rows)
    targets = tuple(X[:, t % d] * 2 - X[:, -1] + 0.3 * rng.normal(size=len(X)) for t, X in enumerate(designs))
    return TaskData(designs, targets, tuple(np.full(n, 1 / n) for n in n_rows))


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.001])
def test_coefficients_are_the_gradient_of_the_conjugate(epsilon: float) -> None:
    """0.001 with gamma 1 needs the slower products."""
    conjugate = TransportConjugate(COST, 0.1, 0.5, epsilon, 1.0)
    for scale in (0.01, 0.08):
        G, direction = scale * RNG.normal(size=(3, 6)), RNG.normal(size=(3, 6))
        h = 1e-6 * min(1.0, 10 * epsilon)
        numeric = (conjugate.half(G + h * direction).value - conjugate.half(G - h * direction).value) / (2 * h)
        assert numeric == pytest.approx(float((conjugate.half(G).coefficients * direction).sum()), rel=1e-4)


def test_outside_its_domain_the_conjugate_is_infinite() -> None:
    conjugate = TransportConjugate(COST, 0.1, 0.5, 0.1, 2.0)
    assert np.isfinite(conjugate.half(np.full((2, 6), 0.1)).value)
    assert conjugate.half(np.full((2, 6), 0.1 + 0.5 * 2.0)).value == np.inf


def test_both_ways_to_multiply_agree() -> None:
    values = RNG.normal(size=(2, 6))
    wide = TransportConjugate(np.pad(COST, (0, 1), constant_values=3.0) * (1 - np.eye(7)), 0.1, 0.5, 0.1, 1.0)
    for backward in (False, True):
        quick = wide._product(np.column_stack([values, [-500.0, -500.0]]), backward=backward)
        slow = wide._product(np.column_stack([values, [-700.0, -700.0]]), backward=backward)
        assert_allclose(quick, slow, rtol=1e-12)


def test_it_is_the_minimum_over_plans_and_masses() -> None:
    """All unknowns of the definition at once: parts, plans and common masses, as exponentials."""
    given, d, n_tasks = data(3, (5, 4)), 3, 2
    sparsity, strength, epsilon, gamma = 0.1, 0.3, 0.4, 1.5
    cost = COST[:3, :3]
    conjugate = TransportConjugate(cost, sparsity, strength, epsilon, gamma)
    found = solve_transport(SquaredRisk(given), conjugate, tol=1e-14)
    K, risk = np.exp(-cost / epsilon), SquaredRisk(given)

    def divergence(x: np.ndarray, y: np.ndarray) -> float:
        return float((x * np.log(x / y) - x + y).sum())

    def penalty(masses: np.ndarray, plans: np.ndarray, common: np.ndarray) -> float:
        value = sparsity * masses.sum()
        for mass, plan in zip(masses, plans, strict=True):
            entropy = epsilon * float((plan * np.log(plan / K) - plan).sum())
            value += strength * (
                entropy + gamma * divergence(plan.sum(1), mass) + gamma * divergence(plan.sum(0), common)
            )
        return float(value)

    def objective(z: np.ndarray) -> float:
        masses, plans, common = np.split(np.exp(z), [2 * n_tasks * d, 2 * n_tasks * d * (1 + d)])
        masses, plans = masses.reshape(2, n_tasks, d), plans.reshape(2, n_tasks, d, d)
        value = risk.at((masses[0] - masses[1]).T).loss
        return value + sum(penalty(masses[k], plans[k], common.reshape(2, d)[k]) for k in range(2))

    start = np.full(2 * n_tasks * d * (1 + d) + 2 * d, -1.0)
    least = minimize(objective, start, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10**6, "ftol": 1e-13})
    at_zero = -2 * conjugate.half(np.zeros((n_tasks, d))).value
    assert found.solution.objective == pytest.approx(least.fun - at_zero, abs=1e-5)
    masses = np.exp(least.x[: 2 * n_tasks * d]).reshape(2, n_tasks, d)
    assert_allclose(found.solution.coefficients.T, masses[0] - masses[1], atol=5e-3)
    assert_allclose(found.common.ravel(), np.exp(least.x[-2 * d :]), atol=5e-3)


@pytest.mark.parametrize("seed", range(20))
def test_the_gap_is_honest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    risk = SquaredRisk(data(seed=seed))
    sparsity, strength, epsilon = 10.0 ** rng.uniform([-2, -2, -1.5], [0, 1, 0.5])
    conjugate = TransportConjugate(COST, sparsity, strength, epsilon, 1.0)
    best = solve_transport(risk, conjugate, tol=1e-12).solution
    assert best.converged
    for steps in (0, 1, 3, 8):
        stopped = solve_transport(risk, conjugate, tol=1e-12, max_iterations=steps).solution
        assert stopped.objective >= best.objective - best.gap - 1e-12
        assert stopped.objective - stopped.gap <= best.objective + 1e-12


def test_little_transport_leaves_a_lasso() -> None:
    risk = SquaredRisk(data())
    lasso = solve(risk, EntryNorm(0.2), tol=1e-12)
    found = solve_transport(risk, TransportConjugate(COST, 0.2, 1e-4, 0.5, 1.0), tol=1e-8, max_iterations=20_000)
    assert_allclose(found.solution.coefficients, lasso.coefficients, atol=0.02)


def test_forms_of_the_data_agree() -> None:
    X, Y, w = RNG.normal(size=(20, 6)), RNG.normal(size=(20, 3)), np.full(20, 1 / 20)
    conjugate = TransportConjugate(COST, 0.05, 0.1, 0.2, 1.0)
    forms = ((X,) * 3, tuple(X.copy() for _ in range(3)), (csc_array(X),) * 3)
    found = [solve_transport(SquaredRisk(TaskData(one, tuple(Y.T), (w,) * 3)), conjugate, tol=1e-13) for one in forms]
    for other in found[1:]:
        assert_allclose(other.solution.coefficients, found[0].solution.coefficients, atol=1e-6)
        assert_allclose(other.solution.intercepts, found[0].solution.intercepts, atol=1e-6)
