"""Nash bargaining: the equation, its invariances, and points where it has no solution."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.solvers.minimum_norm import minimum_norm
from taskloom.solvers.nash import _length, nash, nash_cosines


def nearness(jacobian):
    """Squared length of the shortest vector in the hull of the unit vectors."""
    unit = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
    w = minimum_norm(unit @ unit.T)
    return w @ unit @ unit.T @ w


def test_the_equation_holds_where_it_can(awkward_jacobians):
    for label, jacobian in awkward_jacobians:
        if "zero" in label:
            continue
        G = jacobian @ jacobian.T
        a = nash(G, regularise=False)
        if nearness(jacobian) <= 10 * len(G) * np.finfo(float).eps:
            assert not a.any(), label
        elif nearness(jacobian) > 1e-10:
            assert a.min() > 0, label
            np.testing.assert_allclose(a * (G @ a), 1.0, atol=1e-8, err_msg=label)
            assert a @ G @ a == pytest.approx(len(G), rel=1e-8), label


def test_closed_forms():
    assert nash(np.array([[4.0]])).tolist() == [0.5]
    J = np.array([[3.0, 0.0], [0.5, 0.8]])
    unit = J / np.linalg.norm(J, axis=1, keepdims=True)
    expected = unit.sum(0) / np.sqrt(1 + unit[0] @ unit[1])
    np.testing.assert_allclose(nash(J @ J.T) @ J, expected, rtol=1e-14)


def test_two_agree_with_newton():
    J = np.array([[3.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.0, 0.0, 1.0]])  # the third one is orthogonal
    np.testing.assert_allclose(nash(J @ J.T)[:2], nash(J[:2] @ J[:2].T), rtol=1e-12)


def test_lengths_do_not_matter():
    J = np.random.default_rng(0).normal(size=(4, 6))
    scales = np.array([1e-6, 1.0, 1e6, 30.0])
    scaled = J * scales[:, None]
    np.testing.assert_allclose(nash(scaled @ scaled.T) * scales, nash(J @ J.T), rtol=1e-9)


def test_zero_vectors_get_no_weight():
    J = np.random.default_rng(1).normal(size=(4, 6))
    J[2] = 0
    found = nash(J @ J.T)
    assert found[2] == 0
    kept = J[[0, 1, 3]]
    np.testing.assert_allclose(found[[0, 1, 3]], nash(kept @ kept.T), rtol=1e-14)
    assert nash(np.zeros((3, 3))).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "jacobian",
    [
        np.array([[1.0, 2.0], [-2.0, -4.0]]),
        np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]]),
        np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 3.0]]),  # the third one takes no part in the origin
        np.random.default_rng(3).normal(size=(10, 3)) - 0.01,
    ],
    ids=["opposite", "around", "two of three", "many"],
)
def test_without_a_solution(jacobian):
    G = jacobian @ jacobian.T
    assert nash(G, regularise=False).tolist() == [0.0] * len(G)
    a = nash(G)
    assert np.isfinite(a).all()
    assert a.min() > 0
    assert np.linalg.norm(a @ jacobian) <= np.sqrt(len(G)) * (1 + 1e-9)
    kept, norms, cosines, relative, is_solved = nash_cosines(G, tolerance=0.0, regularise=True)
    assert not is_solved
    np.testing.assert_allclose(relative * (cosines @ relative), 1.0, rtol=1e-8)
    np.testing.assert_allclose(np.diagonal(cosines), 1 + 1e-6, rtol=1e-12)
    assert (len(kept), len(norms)) == (len(G), len(G))


def test_a_coarser_tolerance_stops_earlier():
    J = np.array([[1.0, 0.0], [-1.0, 1e-4]])
    assert nash(J @ J.T, regularise=False).any()
    assert not nash(J @ J.T, regularise=False, tolerance=1e-6).any()


def test_close_to_stationary():
    for tilt in (1e-2, 1e-4, 1e-5):
        J = np.array([[1.0, 0.0, tilt], [-0.5, 0.9, tilt], [-0.5, -0.9, tilt]])
        a = nash(J @ J.T, regularise=False)
        np.testing.assert_allclose(a * (J @ (J.T @ a)), 1.0, rtol=1e-4)


def test_a_direction_without_an_end_is_followed_for_a_while_only() -> None:
    """Nothing of C is felt along the step, which lowers the objective however long it is."""
    length = _length(np.zeros((3, 3)), np.ones(3), np.ones(3), np.zeros(3), 0.5)
    assert 0.5 <= length < np.inf
