"""Projections on the dual cone: optimality conditions and what is known of projections."""

from __future__ import annotations

import numpy as np

from taskloom.solvers.dual_cone import dual_cone


def test_the_projection_is_in_the_cone_and_nearest(awkward_jacobians):
    for label, jacobian in awkward_jacobians:
        G = jacobian @ jacobian.T
        n = len(G)
        u = np.eye(n)
        v = dual_cone(G, u)
        norms = np.linalg.norm(jacobian, axis=1)
        projected = v @ jacobian  # (n, P)
        inner = projected @ jacobian.T  # (n, n)
        scale = np.outer(np.maximum(np.linalg.norm(projected, axis=1), 1e-3 * norms), norms) + 1e-300
        assert (inner / scale).min() >= -1e-8, label
        assert (v >= u).all(), label
        slack = np.abs((v - u) * inner).max(1)
        assert (slack <= 1e-8 * np.maximum(norms, 1e-300) ** 2).all(), label  # of a length squared


def test_two_vectors_give_the_projection_of_pcgrad():
    J = np.array([[1.0, 0.0, 0.5], [-1.0, 2.0, 0.0]])
    G = J @ J.T
    first = J[0] - min(0.0, J[0] @ J[1]) / (J[1] @ J[1]) * J[1]
    np.testing.assert_allclose(dual_cone(G, np.array([[0.5, 0.0]]))[0] @ J, first / 2, atol=1e-14)


def test_what_is_in_the_cone_stays():
    J = np.abs(np.random.default_rng(0).normal(size=(4, 6)))
    u = np.random.default_rng(1).uniform(size=(3, 4))
    np.testing.assert_array_equal(dual_cone(J @ J.T, u), u)


def test_opposite_vectors_cancel():
    J = np.array([[1.0, 2.0], [-3.0, -6.0]])
    np.testing.assert_allclose(dual_cone(J @ J.T, np.eye(2)) @ J, 0, atol=1e-14)


def test_a_projection_does_not_depend_on_the_length_of_other_vectors():
    generator = np.random.default_rng(5)
    J = generator.normal(size=(4, 6))
    scaled = J * np.array([[1.0], [1e3], [1e-3], [7.0]])
    plain = dual_cone(J @ J.T, np.eye(4)[:1]) @ J
    np.testing.assert_allclose(dual_cone(scaled @ scaled.T, np.eye(4)[:1]) @ scaled, plain, rtol=1e-8)
