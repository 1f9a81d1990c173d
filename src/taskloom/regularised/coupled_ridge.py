r"""Least squares of several tasks under a quadratic coupling, solved exactly.

    min over A, b of  sum_t sum_i w_ti (y_ti - x_ti . a_t - b_t)^2 / 2 + tr(A Q A') / 2

is the linear system ``H_t a_t + (A Q)_t = r_t`` with the centred ``H_t = X_t' W_t X_t``, ``r_t = X_t' W_t y_t``. With
``R = r - H A - A Q``, minus the gradient at any A, the duality gap is ``tr(R Q^-1 R') / 2``: a sum of squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled.choice import LinearMethod, choose
from taskloom.regularised.coupled.conjugate_gradient import ConjugateGradient
from taskloom.regularised.coupled.row_products import RowProducts
from taskloom.regularised.data import Array, Solution, TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["is_definite_along", "solve_coupled_ridge"]

REFINEMENTS = 3
EXACT = 1e-15  # gap relative to the risk without coefficients at which no refinement is tried
DEFINITE = 1e-10  # smallest eigenvalue over largest above which a matrix counts as invertible
MOST_FREE = 2000  # rows of that matrix; beyond, nobody looks


@dataclass(frozen=True)
class _WithSharedIntercept:
    """Solver of a system from which one intercept of all tasks was eliminated: one rank less than without it."""

    method: LinearMethod
    sums: Array  # (d, T)
    answer: Array  # the solution for the right-hand sides ``sums``
    pivot: float

    @classmethod
    def around(cls, method: LinearMethod, rows: Centred) -> _WithSharedIntercept:
        sums = rows.sums.T
        answer = method.solve(sums)
        return cls(method, sums, answer, float(rows.totals.sum()) - float(np.vdot(sums, answer)))

    def solve(self, R: Array) -> Array:
        found = self.method.solve(R)
        corrected: Array = found + self.answer * (float(np.vdot(self.sums, found)) / self.pivot)
        return corrected


def solve_coupled_ridge(
    data: TaskData,
    coupling: TaskCoupling,
    *,
    tol: float = 1e-6,
    max_iterations: int = 1000,
    shared_intercept: bool = False,
    start: Array | None = None,
    row_products: RowProducts | None = None,
) -> Solution:
    """Solve the system by the quickest of five methods, and refine until the gap is at rounding.

    Args:
        data: designs, targets and weights.
        coupling: Q with the strength in it.
        tol: a gap up to this fraction of the risk at zero coefficients counts as converged.
        max_iterations: steps of conjugate gradients, where these are used.
        shared_intercept: one intercept for all tasks instead of what the data say.
        start: coefficients to begin with, shape (d, T); only conjugate gradients gain from them.
        row_products: products of all pairs of rows, if they are known from other weights.

    Returns:
        one part, with its gap.

    Example:
        >>> X, y, w = np.eye(2), np.array([1.0, 2.0]), np.ones(2)
        >>> data = TaskData((X, 2 * X), (y, y), (w, w), fit_intercept=False)
        >>> solution = solve_coupled_ridge(data, TaskCoupling.to_mean(2, alpha=1.0, coupling=1.0))
        >>> solution.coefficients, solution.gap < 1e-15
        (array([[0.5, 0.4],
               [1. , 0.8]]), True)
    """
    rows = Centred.of(data, shared_intercept=shared_intercept, row_products=row_products)
    chosen = choose(rows, coupling, max_iterations=max_iterations)
    method: LinearMethod = _WithSharedIntercept.around(chosen, rows) if shared_intercept else chosen
    scale = rows.value(np.zeros((data.n_features, data.n_tasks)))
    A = np.zeros((data.n_features, data.n_tasks)) if start is None else start
    A, gap = _refined(A, rows, coupling, method=method, enough=EXACT * scale)
    return Solution(
        parts=(A,),
        intercepts=rows.intercepts(A),
        objective=rows.value(A) + coupling.value(A),
        gap=gap,
        n_iterations=max(1, chosen.n_iterations) if isinstance(chosen, ConjugateGradient) else 1,
        converged=gap <= tol * scale,
    )


def _refined(
    A: Array, rows: Centred, coupling: TaskCoupling, *, method: LinearMethod, enough: float
) -> tuple[Array, float]:
    """Solve for what is left, again and again, until the gap is small enough or does not shrink."""
    R = rows.descent(A) - coupling.times(A)
    gap = np.inf
    for _ in range(1 + REFINEMENTS):
        change = method.solve(R)
        left = rows.descent(A + change) - coupling.times(A + change)
        # Where Q has no inverse, the distance from the minimum itself: half the change that is left times its slope.
        smaller = (
            0.5 * abs(float(np.vdot(left, method.solve(left)))) if coupling.is_singular else coupling.conjugate(left)
        )
        if not smaller < gap:
            break
        A, R, gap = A + change, left, smaller
        if gap <= enough:
            break
    return A, gap


def is_definite_along(data: TaskData, coupling: TaskCoupling) -> bool:
    """Whether the data say what the coefficients are where a singular coupling does not.

    Args:
        data: designs, targets and weights.
        coupling: Q with the eigenvalue 0.

    Example:
        >>> one = (np.ones((2, 1)), np.ones((2, 1)))
        >>> data = TaskData(one, (np.zeros(2),) * 2, (np.ones(2),) * 2, fit_intercept=False)
        >>> is_definite_along(data, TaskCoupling.of_matrix(np.array([[1.0, -1.0], [-1.0, 1.0]])))
        True
    """
    free = coupling.vectors[:, coupling.values == 0]  # (T, k)
    size = free.shape[1] * data.n_features
    if size > MOST_FREE:
        return False
    rows = Centred.of(data)
    grams = np.broadcast_to(rows.grams, (data.n_tasks, *rows.grams.shape[1:]))
    levels = np.linalg.eigvalsh(np.einsum("tk,tl,tde->kdle", free, free, grams).reshape(size, size))
    return bool(levels[0] > DEFINITE * levels[-1])
