"""Non-negative quadratic programs: optimality conditions, exact arithmetic, and all the ways to the solution."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskloom.solvers import quadratic
from taskloom.solvers.quadratic import nonnegative

PATHS = ["numba", "scipy"]


def violation(H, c, z):
    """Largest violation of the optimality conditions, for rows scaled to norm 1, relative to the largest |c|."""
    norms = np.sqrt(np.where(np.diagonal(H) > 0, np.diagonal(H), 1))
    unit, right, scaled = H / norms / norms[:, None], c / norms, z * norms
    gradient = scaled @ unit + right
    worst = np.maximum(np.where(scaled > 0, np.abs(gradient), -gradient), -scaled).max(1)
    return float((worst / np.abs(right).max(1).clip(min=1e-300)).max())


def programs(jacobian):
    """The two kinds that the other solvers pose: the shortest vector, and projections on the dual cone."""
    gramian = jacobian @ jacobian.T
    yield gramian, gramian / len(gramian)
    smallest = np.diagonal(gramian).min()
    if smallest > 0:
        yield gramian + smallest, np.full((1, len(gramian)), -1.0)


@pytest.mark.parametrize("path", PATHS)
def test_optimality_conditions_hold(awkward_jacobians, path, monkeypatch):
    monkeypatch.setattr(quadratic, "IS_COMPILED", path == "numba")
    for label, jacobian in awkward_jacobians:
        for H, c in programs(jacobian):
            assert violation(H, c, nonnegative(H, c)) <= 1e-9, label


def test_the_careful_scheme_reaches_the_same_objective(awkward_jacobians):
    for label, jacobian in awkward_jacobians:
        for H, c in programs(jacobian):
            norms = np.sqrt(np.where(np.diagonal(H) > 0, np.diagonal(H), 1))
            unit, right = H / norms / norms[:, None], c[0] / norms
            careful = quadratic._by_least_squares(unit, right)
            quick = nonnegative(unit, right[None])[0]
            assert violation(unit, right[None], careful[None]) <= 1e-9, label
            values = [z @ unit @ z / 2 + right @ z for z in (careful, quick)]
            assert values[0] == pytest.approx(values[1], rel=1e-9, abs=1e-12 * np.abs(right).max()), label


def exact(H, c):
    """Minimiser by trying every support in rational arithmetic."""
    n = len(c)
    for size in range(n + 1):
        for support in itertools.combinations(range(n), size):
            z = [Fraction(0)] * n
            solved = eliminated([[H[i][j] for j in support] for i in support], [-c[i] for i in support])
            if solved is None:
                continue
            for index, value in zip(support, solved, strict=True):
                z[index] = value
            gradient = [sum(H[i][j] * z[j] for j in range(n)) + c[i] for i in range(n)]
            if min(z, default=0) >= 0 and min(gradient) >= 0:
                return z
    raise AssertionError("unbounded")


def eliminated(matrix, right):
    """Solution of a rational system, None if it is singular."""
    n = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for column in range(n):
        pivot = next((row for row in range(column, n) if rows[row][column] != 0), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for row in range(n):
            if row != column:
                factor = rows[row][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [row[-1] for row in rows]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=n, max_size=n)
    )
)
def test_agrees_with_rational_arithmetic(rows):
    J = [[Fraction(value) for value in row] for row in rows]
    gramian = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in J] for one in J]
    for index in range(len(J)):
        c = [row[index] for row in gramian]
        z = exact(gramian, c)
        direction = [sum(z[i] * J[i][p] for i in range(len(J))) for p in range(3)]  # unique even where z is not
        found = nonnegative(np.array(gramian, float), np.array([c], float))[0]
        np.testing.assert_allclose(found @ np.array(rows, float), np.array(direction, float), atol=1e-10)


def test_many_right_hand_sides_are_as_many_problems(awkward_jacobians):
    for label, jacobian in awkward_jacobians:
        H = jacobian @ jacobian.T
        together = nonnegative(H, H)
        alone = np.concatenate([nonnegative(H, row[None]) for row in H])
        scale = 1e-6 * np.abs(jacobian).max()
        np.testing.assert_allclose(together @ jacobian, alone @ jacobian, atol=scale, err_msg=label)


def test_scaling_a_row_scales_its_variable():
    generator = np.random.default_rng(3)
    J = generator.normal(size=(6, 8))
    scales = np.array([1e-6, 1.0, 1e6, 3.0, 1e3, 1e-2])
    plain = nonnegative(J @ J.T, np.full((1, 6), -1.0))[0]
    scaled = nonnegative(J @ J.T * scales * scales[:, None], -scales[None])[0]
    np.testing.assert_allclose(scaled * scales, plain, rtol=1e-9)


def test_nothing_to_do_and_no_rows_to_do_it_with():
    assert nonnegative(np.eye(3), np.array([[1.0, 0.0, 2.0]])).tolist() == [[0.0, 0.0, 0.0]]
    assert nonnegative(np.zeros((2, 2)), np.zeros((3, 2))).tolist() == [[0.0, 0.0]] * 3


def test_duplicate_rows_do_not_cycle():
    generator = np.random.default_rng(0)
    for copies in (2, 5, 20):
        rows = np.repeat(generator.normal(size=(3, 4)), copies, axis=0)
        for H, c in programs(rows):
            assert violation(H, c, nonnegative(H, c)) <= 1e-9
