"""The dual of conflict-averse descent: optimality gaps, limits, the closed form of two."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.solvers import conflict_averse as module
from taskloom.solvers.conflict_averse import conflict_averse
from taskloom.solvers.minimum_norm import minimum_norm, shortest


def objective(G, c, w):
    return w @ G.mean(1) + c * np.sqrt(max(G.mean(), 0)) * np.sqrt(max(w @ G @ w, 0))


def gap(G, c, w):
    """Linear optimality gap; 0 where F is not smooth at w."""
    inner, length = G.mean(1), np.sqrt(max(w @ G @ w, 0))
    if length <= max(1e-6 * (w @ np.sqrt(np.diagonal(G))), 1e-14 * c * np.sqrt(G.mean())):
        return 0.0
    gradient = inner + c * np.sqrt(G.mean()) * (G @ w) / length
    return w @ gradient - gradient.min()


@pytest.mark.parametrize("c", [0.1, 0.4, 0.9, 2.0])
def test_the_optimality_gap_is_zero(awkward_jacobians, c):
    for label, jacobian in awkward_jacobians:
        G = jacobian @ jacobian.T
        w = conflict_averse(G, c)
        assert w.min() >= 0, label
        assert w.sum() == pytest.approx(1.0, abs=1e-12), label
        assert gap(G, c, w) <= 2e-11 * G.mean(), (label, gap(G, c, w) / G.mean())


def test_it_takes_few_shortest_vectors(awkward_jacobians, monkeypatch):
    calls = []
    monkeypatch.setattr(module, "shortest", lambda G: calls.append(1) or shortest(G))
    for _, jacobian in awkward_jacobians:
        conflict_averse(jacobian @ jacobian.T, 0.4)
    assert len(calls) <= 6 * len(awkward_jacobians)


def test_two_vectors_agree_with_a_search():
    generator = np.random.default_rng(2)
    shares = np.linspace(0, 1, 2001)
    for number in range(40):
        J = generator.normal(size=(2, 3)) * np.array([[1.0], [10.0 ** (number % 3)]])
        G, c = J @ J.T, (0.2, 0.5, 0.9)[number % 3]
        best = min(objective(G, c, np.array([share, 1 - share])) for share in shares)
        found = objective(G, c, conflict_averse(G, c))
        assert found <= best + 1e-12 * abs(best)
        assert gap(G, c, conflict_averse(G, c)) <= 1e-10 * G.mean()


def test_a_wide_ball_gives_the_shortest_vector():
    J = np.random.default_rng(4).normal(size=(5, 7))
    G = J @ J.T
    np.testing.assert_allclose(conflict_averse(G, 1e7) @ J, minimum_norm(G) @ J, atol=1e-6)


def test_without_a_ball_the_lowest_inner_product_is_chosen():
    G = np.array([[1.0, -1.0, 0.0], [-1.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
    assert conflict_averse(G, 0.0).tolist() == [1.0, 0.0, 0.0]


def test_degenerate_inputs():
    assert conflict_averse(np.array([[2.0]]), 0.4).tolist() == [1.0]
    assert conflict_averse(np.zeros((3, 3)), 0.4) == pytest.approx([1 / 3] * 3)
    assert conflict_averse(np.ones((2, 2)), 0.4).tolist() == [0.5, 0.5]
    assert conflict_averse(np.ones((3, 3)), 0.4) == pytest.approx([1 / 3] * 3)
    zero_row = conflict_averse(np.diag([1.0, 0.0, 2.0]), 0.4)
    assert zero_row.tolist() == [0.0, 1.0, 0.0]
    balanced = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])  # the mean is 0
    assert np.isfinite(conflict_averse(balanced @ balanced.T, 0.4)).all()
