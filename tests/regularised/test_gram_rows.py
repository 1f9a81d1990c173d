"""Least squares by rows of Gram matrices is the same as by the data or by all Gram matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csc_array, random_array

from taskloom.regularised import _costs
from taskloom.regularised._least_squares import LeastSquaresOfData
from taskloom.regularised.data import TaskData
from taskloom.regularised.risk import SquaredRisk

KINDS = ("shared", "own", "own by rows", "sparse")


def problem_of(kind: str, *, n: int = 25, d: int = 12, n_tasks: int = 3) -> LeastSquaresOfData:
    random = np.random.default_rng(3)
    if kind == "sparse":
        X = csc_array(random_array((n, d), density=0.4, format="csc", rng=random))
        designs = (X,) * n_tasks
    elif kind == "shared":
        designs = (np.asfortranarray(random.normal(size=(n, d))),) * n_tasks
    else:
        order = "C" if kind == "own by rows" else "F"
        designs = tuple(np.array(random.normal(size=(n + t, d)), order=order) for t in range(n_tasks))
    targets = tuple(random.normal(size=X.shape[0]) for X in designs)
    weights = tuple(np.full(X.shape[0], 1 / X.shape[0]) for X in designs)
    problem = SquaredRisk(TaskData(designs, targets, weights)).least_squares
    assert isinstance(problem, LeastSquaresOfData)
    return problem


@pytest.mark.parametrize("kind", KINDS)
def test_points_agree_while_rows_become_known(kind: str) -> None:
    problem = problem_of(kind)
    random = np.random.default_rng(0)
    for support in ([], [4], [4, 1, 7], [1], [0, 2, 3, 5, 8]):
        A = np.zeros((12, 3))
        A[support] = random.normal(size=(len(support), 3))
        found, expected = problem.by_rows.at(A), problem.at(A)
        assert found.loss == pytest.approx(expected.loss, rel=1e-12)
        np.testing.assert_allclose(found.dual.G, expected.dual.G, atol=1e-13)
        np.testing.assert_allclose(found.dual.data(0.7), expected.dual.data(0.7), rtol=1e-11)
    assert sorted(problem.known_rows.rows) == [0, 1, 2, 3, 4, 5, 7, 8]


@pytest.mark.parametrize("kind", KINDS)
def test_gram_matrices_agree(kind: str) -> None:
    problem = problem_of(kind)
    for rows in ([3, 0, 5], [3, 0, 5, 9], [9, 3], [3, 0, 5]):
        chosen = np.array(rows)
        found = problem.by_rows.grams(chosen)
        np.testing.assert_allclose(found, problem.grams(chosen), atol=1e-14)
        np.testing.assert_allclose(found, problem.whole.grams(chosen), atol=1e-14)
        assert found.flags.c_contiguous


def test_tasks_of_one_design_share_what_is_known() -> None:
    problem = problem_of("shared")
    first, second = problem.task(0), problem.task(1)
    assert isinstance(first, LeastSquaresOfData)
    assert isinstance(second, LeastSquaresOfData)
    first.by_rows.grams(np.array([2, 6]))
    assert len(second.known_rows.unknown(np.array([2, 6, 7]))) == 1


@pytest.mark.parametrize("n_missing", [0, 5, 40, 150, 200])
@pytest.mark.parametrize(("n", "d", "n_tasks"), [(50, 10, 2), (5000, 200, 20), (100, 200, 5), (60, 3000, 4)])
def test_first_sets_are_within_what_is_missing_or_everything(n: int, d: int, n_tasks: int, n_missing: int) -> None:
    problem = problem_of("shared", n=n, d=d, n_tasks=n_tasks)
    thresholds = np.where(np.arange(d) < n_missing, 1.5, 0.5)
    first = _costs.first_rows(problem, thresholds)
    assert 0 <= first <= min(n_missing, d) or first == d


def test_with_few_features_the_first_set_is_what_stays_above_the_penalty_or_everything() -> None:
    """What is needed is counted by thresholds above 2: residuals of a solution are about half of the targets."""
    problem = problem_of("shared", n=5000, d=200, n_tasks=5)
    thresholds = np.full(200, 1.3)
    thresholds[:12] = 8.0
    assert _costs.first_rows(problem, thresholds) == 12
    thresholds[:150] = 8.0
    assert _costs.first_rows(problem, thresholds) == 200
