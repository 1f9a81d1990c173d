"""Which solver for least squares with a penalty.

=====================  =============================================================================================
penalty                solver
=====================  =============================================================================================
norms of rows          compiled coordinate descent on working sets: a pass costs O(m^2 T) with Gram matrices or O(N m)
                       with residuals for m rows, while others pay for all d rows. Ill-conditioned problems of few
                       features (d <= 200) go on by splitting when the descent crawls: an iteration there costs O(T d^2)
                       whatever the condition
absolute values        the same for each task by itself: its own working set, its own scale of the dual point
other sums over rows   accelerated proximal gradients on working sets: O(m^2 T) per iteration
dirty model            splitting where d is small (the two parts of a row are nearly exchangeable, which slows descent
                       over single rows), coordinate descent where it is not
anything else          splitting where the Gram matrices and their eigenvectors fit into 1 GiB, proximal gradients
                       otherwise; proximal gradients with a coupling, whose rows are not separate problems
=====================  =============================================================================================
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from taskloom.regularised import _costs
from taskloom.regularised._least_squares import GramLeastSquares, LeastSquares, LeastSquaresOfData
from taskloom.regularised._measure import AnyPenalty, Measured
from taskloom.regularised._resolvent import Resolvent
from taskloom.regularised.data import Array
from taskloom.regularised.penalties.coupled import Coupled
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.regularised.proximal_gradient import solve_by_proximal_gradient
from taskloom.regularised.row_descent import row_terms, solve_by_row_descent
from taskloom.regularised.splitting import solve_by_splitting
from taskloom.regularised.working_set import Reached, is_separable, restricted, solve_on_working_sets
from taskloom.solvers.row_descent import IS_COMPILED

__all__ = ["curvature_of", "solve_least_squares"]

Rows: TypeAlias = NDArray[np.intp]
Parts: TypeAlias = tuple[Array, ...]

_FEW_FEATURES = 200
_PASSES_BEFORE_SPLITTING = 2000
_MOST_NUMBERS = 2**27  # in eigenvectors: 1 GiB


def solve_least_squares(
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Minimise least squares plus a penalty by the solver that suits both.

    Args:
        problem: least squares.
        penalty: what is added.
        start: coefficients to begin with, shapes (d, T).
        target: gap to stop at.
        max_iterations: most iterations.
    """
    d = problem.n_features
    is_small = d <= _FEW_FEATURES and problem.n_grams * d * d <= _MOST_NUMBERS
    if IS_COMPILED and row_terms(penalty, d) is not None and not (isinstance(penalty, PartSum) and is_small):
        if problem.n_tasks > 1 and _is_by_task(penalty):
            return _each_task(problem, penalty, start=start, target=target, max_iterations=max_iterations)
        passes = min(max_iterations, _PASSES_BEFORE_SPLITTING) if is_small else max_iterations
        reached = solve_by_row_descent(problem, penalty, start=start, target=target, max_iterations=passes)
        left = max_iterations - reached.n_iterations
        if reached.gap <= target or left <= 0 or not is_small:
            return reached
        return _further(reached, _split(problem, penalty, start=reached.parts, target=target, max_iterations=left))
    if isinstance(penalty, Coupled) or not _splits(problem):
        if all(is_separable(part) for part in (penalty.penalties if isinstance(penalty, PartSum) else (penalty,))):
            return _rows_by_gradients(problem, penalty, start=start, target=target, max_iterations=max_iterations)
        return solve_by_proximal_gradient(
            problem.at, penalty, curvature=curvature_of(problem), start=start, target=target,
            max_iterations=max_iterations,
        )  # fmt: skip
    if d > _FEW_FEATURES and not isinstance(penalty, PartSum) and is_separable(penalty):
        return _rows_by_gradients(problem, penalty, start=start, target=target, max_iterations=max_iterations)
    return _split(problem, penalty, start=start, target=target, max_iterations=max_iterations)


def curvature_of(problem: LeastSquares) -> float:
    """The largest eigenvalue of all Gram matrices, exactly for few features, else by power iteration and 2 % more."""
    if isinstance(problem, GramLeastSquares) or problem.n_features <= _FEW_FEATURES:
        H = problem.grams(np.arange(problem.n_features))
        return float(np.linalg.eigvalsh(H)[:, -1].max(initial=0.0))
    A = np.random.default_rng(0).normal(size=problem.r.shape)
    largest = 0.0
    for _ in range(200):
        lengths = np.linalg.norm(A, axis=0)
        A = A / np.where(lengths > 0, lengths, 1.0)
        A = problem.r - problem.at(A).dual.G  # H_t a_t
        last, largest = largest, float(np.linalg.norm(A, axis=0).max())
        if abs(largest - last) <= 1e-4 * largest:
            break
    return 1.02 * largest


def _is_by_task(penalty: AnyPenalty) -> bool:
    """Whether the penalty is a sum over single coefficients, so that tasks are problems of their own."""
    if isinstance(penalty, RowNorm):
        return bool(np.all(np.asarray(penalty.q) == 1))
    return isinstance(penalty, EntryNorm)


def _each_task(
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Tasks by themselves; each may have a share of the gap as large as its share of the squared targets."""
    if isinstance(problem, LeastSquaresOfData) and problem.n_grams == 1 and problem.is_dense:
        problem = _with_all_grams_for_many(problem)
    coefficients = np.zeros((problem.n_tasks, problem.n_features))
    objective, gap, n_iterations = 0.0, 0.0, 0
    for t in range(problem.n_tasks):
        alone = problem.task(t)
        share = alone.square / problem.square if problem.square > 0 else 1.0
        reached = solve_least_squares(
            alone, penalty, start=(start[0][:, t : t + 1],), target=share * target, max_iterations=max_iterations
        )
        coefficients[t] = reached.parts[0][:, 0]
        objective += reached.objective
        gap += reached.gap
        n_iterations = max(n_iterations, reached.n_iterations)
    return Reached((coefficients.T,), objective, gap, n_iterations)


def _with_all_grams_for_many(problem: LeastSquaresOfData) -> LeastSquares:
    """The Gram matrix of a design that T problems share, where it is cheaper than T times its gradients."""
    is_worth_it = _costs.all_grams(problem) <= 3 * problem.n_tasks * _costs.gradients(problem)
    return problem.whole if is_worth_it and _costs.fits(problem, problem.n_features) else problem


def _splits(problem: LeastSquares) -> bool:
    """Whether the eigenvectors of all Gram matrices fit into memory."""
    shorter = problem.n_features
    if isinstance(problem, LeastSquaresOfData) and problem.is_dense:
        shorter = min(shorter, max(piece.design.n_samples for piece in problem.pieces))
    elif problem.n_features > 4 * _FEW_FEATURES:
        return False  # the Gram matrices of sparse designs
    return problem.n_grams * problem.n_features * shorter <= _MOST_NUMBERS


def _split(problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int) -> Reached:
    assert not isinstance(penalty, Coupled)
    resolvent = Resolvent(problem)
    if not resolvent.is_thin and isinstance(problem, LeastSquaresOfData):
        problem = problem.whole
    return solve_by_splitting(
        problem, penalty, start=start, target=target, max_iterations=max_iterations, resolvent=resolvent
    )


def _rows_by_gradients(
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Proximal gradients on working sets of rows."""

    def solve_rows(rows: Rows, parts: Parts, measured: Measured, inner: float) -> tuple[Parts, int]:
        among = GramLeastSquares(problem.grams(rows), problem.r[rows], square=np.array([problem.square]))
        reached = solve_by_proximal_gradient(
            among.at,
            restricted(penalty, rows),
            curvature=curvature_of(among),
            start=parts,
            target=max(inner, 4e-16 * problem.square),
            max_iterations=max_iterations,
        )
        return reached.parts, reached.n_iterations

    return solve_on_working_sets(
        problem.at, penalty, start=start, solve_rows=solve_rows, target=target, max_iterations=max_iterations
    )


def _further(first: Reached, second: Reached) -> Reached:
    """The better of two, with all iterations counted and the better bound of both."""
    best = first if first.objective < second.objective else second
    bound = max(first.objective - first.gap, second.objective - second.gap)
    return Reached(best.parts, best.objective, best.objective - bound, first.n_iterations + second.n_iterations)
