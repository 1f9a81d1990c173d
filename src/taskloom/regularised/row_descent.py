"""Least squares with norms of rows: coordinate descent on working sets, with residuals or Gram matrices as state."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised import _costs
from taskloom.regularised._least_squares import GramRows, LeastSquares, LeastSquaresOfData
from taskloom.regularised._measure import AnyPenalty, Measured
from taskloom.regularised.certificate import RiskPoint
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.elastic import Elastic
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.regularised.working_set import Reached, solve_on_working_sets
from taskloom.solvers.row_descent import RowTerms, descend_gradients, descend_residuals

__all__ = ["is_known", "row_terms", "solve_by_row_descent"]

Rows: TypeAlias = NDArray[np.intp]
Parts: TypeAlias = tuple[Array, ...]

_EXPECTED_ROUNDS = 2  # further gradients of all rows
_FEW_ROWS = 20  # so few are above the penalty only where it is strong: then one further gradient is mostly the last
_MOST_PASSES = 1000  # on one set of rows


def is_known(penalty: AnyPenalty) -> bool:
    """Whether :func:`row_terms` knows the penalty."""
    if isinstance(penalty, RowNorm | EntryNorm):
        return True
    if isinstance(penalty, Elastic):
        inner = penalty.penalty
        return is_known(inner) and not (isinstance(inner, Elastic) and inner.l2 > 0)
    if isinstance(penalty, PartSum):
        kinds = [type(part) for part in penalty.penalties]
        return kinds == [RowNorm, EntryNorm]
    return False


def row_terms(penalty: AnyPenalty, n_rows: int) -> tuple[RowTerms, float] | None:
    """The penalty as the compiled loops know it, and its ridge; None if they do not know it."""
    if isinstance(penalty, RowNorm):
        strengths, powers = np.empty(n_rows), np.empty(n_rows)
        strengths[:], powers[:] = penalty.strengths, penalty.q
        return RowTerms(strengths, powers), 0.0
    if isinstance(penalty, Elastic):
        inner = row_terms(penalty.penalty, n_rows)
        return None if inner is None or inner[1] > 0 else (inner[0], penalty.l2)
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
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Minimise with the compiled loops.

    Args:
        problem: least squares.
        penalty: one that :func:`row_terms` knows.
        start: coefficients to begin with, shapes (d, T).
        target: gap to stop at.
        max_iterations: most passes.
    """
    found = row_terms(penalty, problem.n_features)
    assert found is not None
    solver = _RowSolver(problem, *found, most_passes=min(max_iterations, _MOST_PASSES), wanted=target / 2)
    return solve_on_working_sets(
        solver.at,
        penalty,
        start=start,
        solve_rows=solver.solve,
        target=target,
        max_iterations=max_iterations,
        first=partial(_costs.first_rows, problem),
    )


class _RowSolver:
    """Solves on sets of rows, and goes over from the data to Gram matrices when that is the cheaper way."""

    def __init__(
        self, problem: LeastSquares, terms: RowTerms, ridge: float, *, most_passes: int, wanted: float
    ) -> None:
        self.problem, self.terms, self.ridge, self.most_passes = problem, terms, ridge, most_passes
        self.wanted = wanted  # gap on a set that is solved to the end
        self.n_known = 0  # rows whose Gram matrices were made

    def at(self, A: Array) -> RiskPoint:
        return self.problem.at(A)

    def solve(self, rows: Rows, parts: Parts, measured: Measured, inner: float) -> tuple[Parts, int]:
        problem = self.problem = self._cheapest(rows)
        state = np.array(parts, order="C")  # (parts, m, T)
        if _costs.is_soon_solved(problem, len(rows)):
            inner = min(inner, self.wanted)
        target = max(inner, 4e-16 * problem.square)
        if isinstance(problem, LeastSquaresOfData) and not _costs.prefers_grams(problem, len(rows)):
            made = self._with_residuals(problem, rows, state, target)
        else:
            made = self._with_grams(rows, state, measured, target)
        return tuple(state), made

    def _cheapest(self, rows: Rows) -> LeastSquares:
        """The data, the Gram matrices of these rows and all others, or all of them: what the rest may cost."""
        problem = self.problem
        if isinstance(problem, GramRows):
            problem = problem.data
        if not isinstance(problem, LeastSquaresOfData) or not problem.is_dense:
            return problem
        if "whole" in problem.__dict__:
            return problem.whole
        m, d, known = len(rows), problem.n_features, problem.known_rows
        if not _costs.prefers_grams(problem, m):
            return problem
        rounds = 1 if m <= _FEW_ROWS else _EXPECTED_ROUNDS
        from_data = _costs.grams(problem, m, known=min(self.n_known, m)) + rounds * _costs.gradients(problem)
        by_rows, whole = _costs.gram_rows(problem, len(known.unknown(rows))), _costs.all_grams(problem)
        if whole <= min(from_data, by_rows) and _costs.fits(problem, d):
            return problem.whole
        is_better = by_rows <= from_data and _costs.fits(problem, max(m, len(known.rows)))
        return problem.by_rows if is_better else problem

    def _with_grams(self, rows: Rows, state: Array, measured: Measured, target: float) -> int:
        grams = self.problem.grams(rows)
        self.n_known = max(self.n_known, len(rows))
        gradients = measured.G.T[:, rows]
        if self.ridge:
            grams = grams + self.ridge * np.eye(len(rows))
            gradients -= self.ridge * state[0].T
        made, _ = descend_gradients(
            state, np.ascontiguousarray(gradients), grams=grams, r=np.ascontiguousarray(self.problem.r.T[:, rows]),
            square=self.problem.square, ridge=self.ridge, terms=self.terms.rows(rows), passes=self.most_passes,
            target=target,
        )  # fmt: skip
        return made

    def _with_residuals(self, problem: LeastSquaresOfData, rows: Rows, state: Array, target: float) -> int:
        complete = np.zeros((problem.n_features, problem.n_tasks))
        complete[rows] = state.sum(0)
        pieces = problem.each_task()
        made, _ = descend_residuals(
            state, np.concatenate([R.ravel() for R in problem.residuals(complete)]), columns=problem.columns(rows),
            lengths=np.array([piece.design.n_samples for piece in pieces]),
            scales=np.array([piece.scale for piece in pieces]), ridge=self.ridge, terms=self.terms.rows(rows),
            passes=self.most_passes, target=target,
        )  # fmt: skip
        return made
