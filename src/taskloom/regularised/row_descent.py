"""Least squares with norms of rows: coordinate descent on working sets, with residuals or Gram matrices as state."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised._least_squares import LeastSquares, LeastSquaresOfData
from taskloom.regularised._measure import AnyPenalty, Measured
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.elastic import Elastic
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.regularised.working_set import Reached, solve_on_working_sets
from taskloom.solvers.row_descent import RowTerms, descend_gradients, descend_residuals

__all__ = ["row_terms", "solve_by_row_descent"]

Rows: TypeAlias = NDArray[np.intp]
Parts: TypeAlias = tuple[Array, ...]

_EXPECTED_ROUNDS = 6
_EXPECTED_PASSES = 40
_MATRIX_RATE = 8.0  # how much quicker matrix products are than loops over rows, per multiplication
_MOST_NUMBERS = 2**27  # in Gram matrices: 1 GiB


def row_terms(penalty: AnyPenalty, n_rows: int) -> tuple[RowTerms, float] | None:
    """The penalty as the compiled loops know it, and its ridge; None if they do not know it."""
    if isinstance(penalty, Elastic):
        inner = row_terms(penalty.penalty, n_rows)
        return None if inner is None or inner[1] > 0 else (inner[0], penalty.l2)
    if isinstance(penalty, RowNorm):
        strengths = np.array(np.broadcast_to(penalty.strengths, n_rows), dtype=np.float64)
        return RowTerms(strengths, np.array(np.broadcast_to(penalty.q, n_rows), dtype=np.float64)), 0.0
    if isinstance(penalty, EntryNorm):
        return RowTerms(np.full(n_rows, penalty.alpha), np.ones(n_rows)), 0.0
    if isinstance(penalty, PartSum) and len(penalty.penalties) == 2:
        rows, entries = penalty.penalties
        if isinstance(rows, RowNorm) and isinstance(entries, EntryNorm):
            first = row_terms(rows, n_rows)
            assert first is not None
            return RowTerms(first[0].strengths, first[0].powers, np.full(n_rows, entries.alpha)), 0.0
    return None


def solve_by_row_descent(
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int, n_problems: int = 1
) -> Reached:
    """Minimise with the compiled loops.

    Args:
        problem: least squares.
        penalty: one that :func:`row_terms` knows.
        start: coefficients to begin with, shapes (d, T).
        target: gap to stop at.
        max_iterations: most passes.
        n_problems: how many problems with these data are to be solved, as along a path.
    """
    found = row_terms(penalty, problem.n_features)
    assert found is not None
    terms, ridge = found
    if isinstance(problem, LeastSquaresOfData) and _is_worth_all_grams(problem, n_problems):
        problem = problem.whole
    floor = 4e-16 * problem.square

    def solve_rows(rows: Rows, parts: Parts, measured: Measured, inner: float) -> tuple[Parts, int]:
        state = np.ascontiguousarray(np.stack([part.T for part in parts]))  # (parts, T, m)
        chosen, passes = terms.rows(rows), min(max_iterations, 1000)
        if not isinstance(problem, LeastSquaresOfData) or _prefers_grams(problem, len(rows)):
            grams = problem.grams(rows)
            if ridge:
                grams[:, np.arange(len(rows)), np.arange(len(rows))] += ridge
            G = measured.G[rows] - ridge * parts[0] if ridge else measured.G[rows]
            made, _ = descend_gradients(
                state, np.ascontiguousarray(G.T), grams=grams, r=np.ascontiguousarray(problem.r[rows].T),
                square=problem.square, ridge=ridge, terms=chosen, passes=passes, target=max(inner, floor),
            )  # fmt: skip
        else:
            made = _with_residuals(problem, rows, parts, state, ridge, chosen, passes, max(inner, floor))
        return tuple(np.ascontiguousarray(part.T) for part in state), made

    return solve_on_working_sets(
        problem.at, penalty, start=start, solve_rows=solve_rows, target=target, max_iterations=max_iterations
    )


def _with_residuals(
    problem: LeastSquaresOfData,
    rows: Rows,
    parts: Parts,
    state: Array,
    ridge: float,
    terms: RowTerms,
    passes: int,
    target: float,
) -> int:
    complete = np.zeros((problem.n_features, problem.n_tasks))
    complete[rows] = np.sum(parts, axis=0)
    residuals = np.concatenate([R.T.ravel() for R in problem.residuals(complete)])
    lengths = np.array([piece.design.n_samples for piece in problem.each_task()], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    if problem.n_grams == 1:
        starts[:] = 0
    made, _ = descend_residuals(
        state, residuals, columns=problem.columns(rows), starts=starts, lengths=lengths,
        scales=np.array([piece.scale for piece in problem.each_task()]), ridge=ridge, terms=terms,
        passes=passes, target=target,
    )  # fmt: skip
    return made


def _is_worth_all_grams(problem: LeastSquaresOfData, n_problems: int) -> bool:
    """Whether all Gram matrices cost less than the gradients of all rounds from the data.

    One gradient of all rows costs 2 N d T multiplications with N rows of a shared design (2 N d for designs of their
    own), all Gram matrices N d^2 / 2 by symmetry; with them a gradient costs d m T only, with m rows not 0.
    """
    n, d = problem.n_samples, problem.n_features
    if problem.n_grams * d * d > _MOST_NUMBERS or not problem.is_dense:
        return False
    per_gradient = 2 * n * d * (problem.n_tasks if problem.n_grams == 1 else 1)
    return n * d * d / 2 <= _EXPECTED_ROUNDS * n_problems * per_gradient and n >= d


def _prefers_grams(problem: LeastSquaresOfData, m: int) -> bool:
    """Whether passes over m rows cost less with Gram matrices than with residuals.

    A pass reads the gradients of all rows and carries the changes of about half of them on. With residuals both cost N
    multiplications per row (n T for a shared design); with Gram matrices the first is free and the second m T. They
    have to be made first: N m^2 multiplications in matrix products.
    """
    if not problem.is_dense:
        return True
    n = problem.n_samples * (problem.n_tasks if problem.n_grams == 1 else 1)
    with_residuals = _EXPECTED_PASSES * m * n * 1.5
    with_grams = _EXPECTED_PASSES * m / 2 * m * problem.n_tasks + problem.n_samples * m * m / _MATRIX_RATE
    return with_grams <= with_residuals and problem.n_grams * m * m <= _MOST_NUMBERS
