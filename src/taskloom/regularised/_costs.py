"""What the ways to solve least squares with a penalty per row cost, in nanoseconds of one core.

Measured on a server core of 2023 with OpenBLAS; only ratios matter. Reading a design once costs 0.4 ns per number, 0.1
from the cache, and 0.04 ns more for each vector that it is multiplied with; matrix products cost 0.04 ns per
multiplication, 0.026 ns where the result is symmetric; taking a column out of a design that is stored by rows costs
3 ns per number. A design that is touched costs a few calls of the interpreter, and a round of the interpreter around
the loops 0.1 ms and 8 ns per coefficient. The loops need a fixed time per coefficient and, for each row of the set
or each sample, one per coefficient and one that tasks with the same design share; where every task has a design of its
own the times are larger, and Gram matrices that leave the cache are read from memory.
"""

from __future__ import annotations

import numpy as np

from taskloom.regularised._least_squares import LeastSquares, LeastSquaresOfData
from taskloom.regularised.data import Array

__all__ = [
    "all_grams",
    "first_rows",
    "fits",
    "gradients",
    "gram_rows",
    "grams",
    "is_small",
    "is_soon_solved",
    "prefers_grams",
    "round_of",
]

_READ, _READ_FROM_CACHE = 0.4, 0.1
_PRODUCT = 0.04
_SYMMETRIC = 0.026
_GATHER = 3.0
_WRITE = 0.5  # per number of a Gram matrix, in fresh memory
_CALL = 10_000.0  # on one design
_ROUND = 100_000.0
_EVALUATION = 8.0  # of a coefficient, once a round
_ENTRY_AT_0 = 80.0  # of a coefficient that stays 0, in one call of the loops
_ENTRY_BY_GRAMS, _ENTRY_BY_RESIDUALS = 40.0, 90.0  # of a coefficient in a pass
_SHARED_ROW, _SHARED_ENTRY = 60.0, 6.0  # of a row in a pass, and of each of its coefficients, with one design
_SHARED_BY_GRAMS, _SHARED_BY_RESIDUALS = (0.1, 0.1), (0.9, 0.2)  # per row or sample: once, for each coefficient
_LOOP_BY_GRAMS, _LOOP_FROM_MEMORY, _LOOP_BY_RESIDUALS = 0.3, 1.0, 0.6  # the same with designs of their own
_CACHE = 2**19  # numbers
_PASSES = 20  # of a typical solution on a set of rows
_FURTHER_PASSES = 10  # from a share of the gap on a set of rows to none of it
_FEW_ROUNDS = 10  # of gradients, for which all Gram matrices are not many
_MOST = 0.6  # of the rows
_NEEDED = 2  # threshold at first of a row that stays above 1 in the end: residuals become half of the targets or so
_MOST_NUMBERS = 2**27  # in Gram matrices: 1 GiB


def gradients(problem: LeastSquaresOfData) -> float:
    """Gradients of all rows from the data: every design is read once, for the tasks that share it."""
    sharing = problem.n_tasks / problem.n_grams
    return problem.n_samples * problem.n_features * (_read(problem) + _PRODUCT * sharing) + problem.n_grams * _CALL


def all_grams(problem: LeastSquaresOfData) -> float:
    """All Gram matrices: N d^2 / 2 multiplications."""
    return problem.n_samples * problem.n_features**2 * _SYMMETRIC + _written(problem, problem.n_features)


def grams(problem: LeastSquaresOfData, m: int, *, known: int = 0) -> float:
    """Gram matrices of m rows when those of some of them are known."""
    numbers = (m - known) * _GATHER + (m * m - known * known) * _PRODUCT
    return problem.n_samples * numbers + problem.n_grams * _CALL


def gram_rows(problem: LeastSquaresOfData, new: int) -> float:
    """Rows of the Gram matrices, which replace gradients from the data."""
    if new == 0:
        return 0.0
    numbers = new * _GATHER + problem.n_features * (_read(problem) + _PRODUCT * new)
    return problem.n_samples * numbers + problem.n_grams * _CALL


def round_of(problem: LeastSquares) -> float:
    """What the interpreter adds to one call of the loops."""
    return _ROUND + problem.n_features * problem.n_tasks * _EVALUATION


def is_small(problem: LeastSquares) -> bool:
    """Whether the loops over all rows cost less than the interpreter needs to choose some of them."""
    return problem.n_features * problem.n_tasks * _ENTRY_AT_0 <= _ROUND / 2


def is_soon_solved(problem: LeastSquares, m: int) -> bool:
    """Whether m rows are solved to the end, by Gram matrices, at less than the costs of another round."""
    return _FURTHER_PASSES * _pass_by_grams(problem, m) <= round_of(problem)


def fits(problem: LeastSquaresOfData, m: int) -> bool:
    """Whether m rows of all Gram matrices may be kept."""
    return problem.n_grams * m * problem.n_features <= _MOST_NUMBERS


def first_rows(problem: LeastSquares, thresholds: Array) -> int:
    """Rows of the first working set: their Gram matrices cost about as much as a round with the gradients of all rows.

    With few features the rows of the Gram matrices are counted, which make gradients from the data unnecessary: the set
    is small then, as further rounds are cheap, but where most rows are needed it is all of them.

    Args:
        problem: least squares.
        thresholds: what the penalty of every row is compared with at first, shape (d,).
    """
    if is_small(problem):
        return problem.n_features
    n_missing, n_needed = (int(np.count_nonzero(thresholds > least)) for least in (1, _NEEDED))
    if not isinstance(problem, LeastSquaresOfData) or "whole" in problem.__dict__:
        return n_missing
    budget, n = gradients(problem), max(problem.n_samples, 1)
    if all_grams(problem) <= _FEW_ROUNDS * (budget + round_of(problem)):
        few = int((budget + round_of(problem)) / n / (_GATHER + problem.n_features * _PRODUCT))
        return problem.n_features if n_needed >= _MOST * problem.n_features else min(n_needed, few)
    return min(n_missing, int(((_GATHER**2 + 6 * _PRODUCT * budget / n) ** 0.5 - _GATHER) / (2 * _PRODUCT)))


def prefers_grams(problem: LeastSquaresOfData, m: int) -> bool:
    """Whether passes over m rows cost less with Gram matrices than with residuals.

    A pass carries the changes of about half of the rows on. With residuals reading the gradient of a row and carrying
    its change on cost N multiplications each (n T for a shared design, where gradients are read for whole blocks of
    rows); with Gram matrices the first is free and the second costs m T. Sparse designs have no loops with residuals.
    """
    if not problem.is_dense:
        return True
    if problem.n_grams * m * m > _MOST_NUMBERS:
        return False
    with_grams = _PASSES * _pass_by_grams(problem, m) + problem.n_samples * m * m * _SYMMETRIC + _written(problem, m)
    return with_grams <= _PASSES * _pass_by_residuals(problem, m)


def _written(problem: LeastSquaresOfData, m: int) -> float:
    return problem.n_grams * (_CALL + m * m * _WRITE)


def _read(problem: LeastSquaresOfData) -> float:
    return _READ if problem.n_samples * problem.n_features > _CACHE else _READ_FROM_CACHE


def _pass_by_grams(problem: LeastSquares, m: int) -> float:
    if problem.n_grams == 1:
        return m / 2 * _shared(problem.n_tasks, m, *_SHARED_BY_GRAMS)
    per_row = _LOOP_FROM_MEMORY if problem.n_grams * m * m > _CACHE else _LOOP_BY_GRAMS
    return m / 2 * problem.n_tasks * (_ENTRY_BY_GRAMS + per_row * m)


def _pass_by_residuals(problem: LeastSquaresOfData, m: int) -> float:
    if problem.n_grams == 1:
        return m / 2 * _shared(problem.n_tasks, problem.n_samples, *_SHARED_BY_RESIDUALS)
    n = problem.n_samples / problem.n_grams
    return m / 2 * problem.n_tasks * (_ENTRY_BY_RESIDUALS + _LOOP_BY_RESIDUALS * n)


def _shared(n_tasks: int, length: int, once: float, each: float) -> float:
    """A row of coefficients whose change goes on to so many numbers of each task."""
    return _SHARED_ROW + n_tasks * _SHARED_ENTRY + length * (once + each * n_tasks)
