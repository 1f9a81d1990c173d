"""Shortest vectors in convex hulls: certificates, the closed form of two, zero and equal vectors."""

from __future__ import annotations

import numpy as np
import pytest

from taskloom.solvers.minimum_norm import minimum_norm, share_alike


def test_the_optimality_gap_is_zero(awkward_jacobians):
    for label, jacobian in awkward_jacobians:
        G = jacobian @ jacobian.T
        w = minimum_norm(G)
        assert w.min() >= 0, label
        assert w.sum() == pytest.approx(1.0, abs=1e-14), label
        gap = w @ G @ w - (G @ w).min()
        norms = np.linalg.norm(jacobian, axis=1)
        rounding = 1e-13 * (w @ norms) * norms.max()  # of the inner products themselves
        assert gap <= 1e-10 * (w @ G @ w) + rounding, (label, gap)


def test_two_vectors_by_hand():
    assert minimum_norm(np.array([[1.0, 0.0], [0.0, 3.0]])).tolist() == [0.75, 0.25]
    assert minimum_norm(np.array([[1.0, 2.0], [2.0, 9.0]])).tolist() == [1.0, 0.0]
    assert minimum_norm(np.array([[9.0, 2.0], [2.0, 1.0]])).tolist() == [0.0, 1.0]
    assert minimum_norm(np.array([[1.0, -2.0], [-2.0, 4.0]])) == pytest.approx([2 / 3, 1 / 3])  # opposite


def test_the_closed_form_agrees_with_the_program():
    generator = np.random.default_rng(1)
    for _ in range(50):
        J = generator.normal(size=(2, 3))
        far = np.concatenate([J, 100 * J[:1] + 50])  # a third vector that takes no part
        three = minimum_norm(far @ far.T)
        if three[2] == 0:
            np.testing.assert_allclose(minimum_norm(J @ J.T), three[:2], atol=1e-12)


def test_one_vector():
    assert minimum_norm(np.array([[4.0]])).tolist() == [1.0]
    assert minimum_norm(np.zeros((1, 1))).tolist() == [1.0]


def test_zero_vectors_share_the_weight():
    assert minimum_norm(np.diag([1.0, 0.0, 2.0, 0.0])).tolist() == [0.0, 0.5, 0.0, 0.5]
    assert minimum_norm(np.zeros((4, 4))).tolist() == [0.25] * 4


@pytest.mark.parametrize("n", [2, 3, 7])
def test_equal_vectors_get_equal_weights(n):
    row = np.array([[1.0, 2.0, -1.0]])
    np.testing.assert_allclose(minimum_norm(np.repeat(row, n, 0) @ np.repeat(row, n, 0).T), np.full(n, 1 / n))
    rows = np.concatenate([row, np.array([[0.0, 1.0, 3.0]]), row])
    w = minimum_norm(rows @ rows.T)
    assert w[0] == w[2] > 0


def test_sharing_keeps_the_sum_of_vectors():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    w = np.array([0.5, 0.2, 0.3])
    shared = share_alike(rows @ rows.T, w)
    assert shared[0] == shared[2]
    np.testing.assert_allclose(shared @ rows, w @ rows)
    assert share_alike(np.eye(3), w) is w


def test_the_origin_in_the_hull():
    rows = np.array([[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0], [5.0, 5.0]])
    assert np.linalg.norm(minimum_norm(rows @ rows.T) @ rows) <= 1e-14
