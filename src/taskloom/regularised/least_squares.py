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
dirty model            the same as for norms of rows: both parts of a row move at once (for q = 2 and infinity; else in
                       turn, which is slower, as they are nearly exchangeable)
bounded eigenvalues    (clusters) for one Gram matrix, the best quadratic penalty and the coefficients in turn: a few
                       turns of O(d^2 T); for several as below
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
from taskloom.regularised.penalties.spectral_box import SpectralBox
from taskloom.regularised.proximal_gradient import solve_by_proximal_gradient
from taskloom.regularised.reweighting import solve_by_reweighting
from taskloom.regularised.row_descent import is_known, row_terms, solve_by_row_descent
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
    if problem.n_tasks == 1 and isinstance(penalty, PartSum) and is_known(penalty):
        return _cheaper_part(problem, penalty, start=start, target=target, max_iterations=max_iterations)
    d, is_small = problem.n_features, _is_small(problem)
    if IS_COMPILED and is_known(penalty):
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
    if isinstance(penalty, SpectralBox) and problem.n_grams == 1:
        return _by_turns(problem, penalty, start=start, target=target, max_iterations=max_iterations)
    return _split(problem, penalty, start=start, target=target, max_iterations=max_iterations)


def _is_small(problem: LeastSquares) -> bool:
    """Whether iterations over all features with all Gram matrices are cheap."""
    return problem.n_features <= _FEW_FEATURES and problem.n_grams * problem.n_features**2 <= _MOST_NUMBERS


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
        return bool(penalty.q == 1) if isinstance(penalty.q, int | float) else bool(np.all(penalty.q == 1))
    return isinstance(penalty, EntryNorm)


def _each_task(
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Tasks by themselves; each may have a share of the gap as large as its share of the squared targets.

    Where the descent crawls in some tasks of few features, these go on together by splitting.
    """
    if isinstance(problem, LeastSquaresOfData) and problem.n_grams == 1 and problem.is_dense:
        problem = _with_all_grams_for_many(problem)
    is_small = _is_small(problem)
    passes = min(max_iterations, _PASSES_BEFORE_SPLITTING) if is_small else max_iterations
    found, targets = [], target * problem.squares / max(problem.square, 1e-300)
    for t in range(problem.n_tasks):
        alone, begin = problem.task(t), (start[0][:, t : t + 1],)
        found.append(solve_by_row_descent(alone, penalty, start=begin, target=targets[t], max_iterations=passes))
    A = np.concatenate([one.parts[0] for one in found], axis=1)
    open_tasks = np.flatnonzero([one.gap > allowed for one, allowed in zip(found, targets, strict=True)])
    objective, gap = sum(one.objective for one in found), sum(one.gap for one in found)
    reached = Reached((A,), objective, gap, int(max(one.n_iterations for one in found)))
    left = max_iterations - reached.n_iterations
    if len(open_tasks) == 0 or not is_small or left <= 0:
        return reached
    among = _gram_form(problem).some_tasks(open_tasks)
    further = _split(
        among, penalty, start=(A[:, open_tasks],), target=float(targets[open_tasks].sum()), max_iterations=left
    )
    A[:, open_tasks] = further.parts[0]
    for t in open_tasks.tolist():
        objective, gap = objective - found[t].objective, gap - found[t].gap
    return Reached((A,), objective + further.objective, gap + further.gap, reached.n_iterations + further.n_iterations)


def _gram_form(problem: LeastSquares) -> GramLeastSquares:
    if isinstance(problem, LeastSquaresOfData):
        return problem.whole
    assert isinstance(problem, GramLeastSquares)
    return problem


def _cheaper_part(
    problem: LeastSquares, penalty: PartSum, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """With one task every norm of a row is an absolute value: the part where it costs less takes the coefficient."""
    found = row_terms(penalty, problem.n_features)
    assert found is not None
    terms = found[0]
    assert terms.entries is not None
    is_first = terms.strengths <= terms.entries
    single = RowNorm(1.0, 1.0, np.where(is_first, terms.strengths, terms.entries))
    reached = solve_least_squares(
        problem, single, start=(start[0] + start[1],), target=target, max_iterations=max_iterations
    )
    A = reached.parts[0]
    parts = (np.where(is_first[:, None], A, 0.0), np.where(is_first[:, None], 0.0, A))
    return Reached(parts, reached.objective, reached.gap, reached.n_iterations)


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


def _by_turns(
    problem: LeastSquares, penalty: SpectralBox, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Reweighting; what it leaves of the gap is left to splitting."""
    resolvent = Resolvent(problem)
    if not resolvent.is_thin and isinstance(problem, LeastSquaresOfData):
        problem = problem.whole
    reached = solve_by_reweighting(problem, penalty, resolvent=resolvent, start=start, target=target)
    left = max_iterations - reached.n_iterations
    if reached.gap <= target or left <= 0:
        return reached
    further = solve_by_splitting(
        problem, penalty, start=reached.parts, target=target, max_iterations=left, resolvent=resolvent
    )
    return _further(reached, further)


def _rows_by_gradients(
    problem: LeastSquares, penalty: AnyPenalty, *, start: Parts, target: float, max_iterations: int
) -> Reached:
    """Proximal gradients on working sets of rows."""

    def solve_rows(rows: Rows, parts: Parts, measured: Measured, inner: float) -> tuple[Parts, int]:
        among = GramLeastSquares(problem.grams(rows), problem.r[rows], squares=problem.squares)
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
