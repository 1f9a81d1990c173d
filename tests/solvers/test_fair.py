"""Alpha-fair allocation: the equation over many orders of magnitude, its limits, and points without a solution."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.solvers.fair import fair
from taskloom.solvers.minimum_norm import minimum_norm
from taskloom.solvers.nash import nash

ALPHAS = [0.2, 0.5, 0.9, 1.0, 2.0, 5.0, 10.0]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_equation_holds_where_it_can(awkward_jacobians, alpha):
    for label, jacobian in awkward_jacobians:
        if "zero" in label:
            continue
        G = jacobian @ jacobian.T
        w = fair(G, alpha, regularise=False)
        assert bool(w.any()) == bool(nash(G, regularise=False).any()), label
        if w.any():
            assert w.min() > 0, label
            # w^(1/alpha) (G w) = 1, up to what rounding in G w allows
            lift = w ** (1 / alpha)
            allowed = 1e-9 + 1e-14 * (lift * (np.abs(G) @ w)).max()
            assert np.abs(lift * (G @ w) - 1).max() <= allowed, label


@pytest.mark.parametrize("alpha", ALPHAS)
def test_closed_forms(alpha):
    squares = np.array([1e-6, 4.0, 1e6])
    np.testing.assert_allclose(fair(np.diag(squares), alpha), squares ** (-alpha / (1 + alpha)), rtol=1e-9)
    np.testing.assert_allclose(fair(squares[1:2, None], alpha), 4.0 ** (-alpha / (1 + alpha)), rtol=1e-12)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_degree(alpha):
    J = np.random.default_rng(0).normal(size=(4, 6))
    plain = fair(J @ J.T, alpha)
    for scale in (1e-6, 1e6):
        scaled = fair(scale**2 * J @ J.T, alpha)
        np.testing.assert_allclose(scaled, scale ** (-2 * alpha / (1 + alpha)) * plain, rtol=1e-9)


def test_between_the_sum_and_the_worst_off():
    J = np.random.default_rng(1).normal(size=(3, 6)) + 0.5
    G = J @ J.T
    np.testing.assert_allclose(fair(G, 1e-3), 1.0, rtol=2e-2)
    np.testing.assert_array_equal(fair(G, 1.0), nash(G))
    w = fair(G, 500.0)
    np.testing.assert_allclose(w / w.sum(), minimum_norm(G), atol=1e-2)


def test_zero_vectors_get_no_weight():
    J = np.random.default_rng(1).normal(size=(4, 6))
    J[0] = 0
    found = fair(J @ J.T, 2.0)
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], fair(J[1:] @ J[1:].T, 2.0), rtol=1e-12)
    assert fair(np.zeros((2, 2)), 2.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_without_a_solution(alpha):
    for J in (np.array([[1.0, 2.0], [-2.0, -4.0]]), np.random.default_rng(3).normal(size=(10, 3))):
        G = J @ J.T
        assert fair(G, alpha, regularise=False).tolist() == [0.0] * len(G)
        w = fair(G, alpha)
        assert np.isfinite(w).all()
        assert w.min() > 0
        regularised = G + 1e-6 * np.diag(np.diagonal(G))
        np.testing.assert_allclose(w ** (1 / alpha) * (regularised @ w), 1.0, rtol=1e-6)
