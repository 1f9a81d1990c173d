"""What the ways to solve least squares with a penalty per row cost, in nanoseconds of one core.

Measured on a server core of 2023 with OpenBLAS; only ratios matter. Reading a design once costs 0.6 ns per number
and 0.045 ns more for each vector that it is multiplied with; matrix products cost 0.045 ns per multiplication, half of
that where the result is symmetric; taking a column out of a design that is stored by rows costs 3 ns per number. The
compiled loops need 0.1 ns per multiplication. A round of the interpreter around them costs 0.25 ms.
"""

from __future__ import annotations

from taskloom.regularised._least_squares import LeastSquaresOfData

__all__ = ["all_at_once", "all_grams", "first_rows", "fits", "gradients", "grams", "prefers_grams"]

_READ = 0.6
_PRODUCT = 0.045
_GATHER = 3.0
_LOOP = 0.1
_ROUND = 250_000.0
_PASSES = 40  # of a typical solution on a set of rows
_MOST_NUMBERS = 2**27  # in Gram matrices: 1 GiB
ROWS_AT_ONCE = 600  # with all Gram matrices at hand so many rows need no working set


def gradients(problem: LeastSquaresOfData) -> float:
    """Gradients of all rows from the data: every design is read once, for the tasks that share it."""
    sharing = problem.n_tasks / problem.n_grams
    return problem.n_samples * problem.n_features * (_READ + _PRODUCT * sharing)


def all_grams(problem: LeastSquaresOfData) -> float:
    """All Gram matrices: N d^2 / 2 multiplications."""
    return problem.n_samples * problem.n_features**2 * _PRODUCT / 2


def grams(problem: LeastSquaresOfData, m: int, *, known: int = 0) -> float:
    """Gram matrices of m rows when those of some of them are known."""
    return problem.n_samples * ((m - known) * _GATHER + (m * m - known * known) * _PRODUCT)


def all_at_once(problem: LeastSquaresOfData) -> bool:
    """Whether all Gram matrices cost less than two rounds of a working set, each with what the interpreter adds.

    With few features the loops over rows that stay 0 cost next to nothing, and one call of them does it all.
    """
    d = problem.n_features
    if not problem.is_dense or d > ROWS_AT_ONCE or not fits(problem, d):
        return False
    return all_grams(problem) <= 2 * (gradients(problem) + _ROUND)


def fits(problem: LeastSquaresOfData, m: int) -> bool:
    """Whether Gram matrices of m rows may be kept."""
    return problem.n_grams * m * m <= _MOST_NUMBERS


def first_rows(problem: LeastSquaresOfData) -> int:
    """Rows of the first working set: their Gram matrices cost about as much as the gradients of all rows."""
    budget = 1.5 * gradients(problem) / max(problem.n_samples, 1)
    return int((((_GATHER**2 + 4 * _PRODUCT * budget) ** 0.5) - _GATHER) / (2 * _PRODUCT))


def prefers_grams(problem: LeastSquaresOfData, m: int) -> bool:
    """Whether passes over m rows cost less with Gram matrices than with residuals.

    A pass carries the changes of about half of the rows on. With residuals reading the gradient of a row and carrying
    its change on cost N multiplications each (n T for a shared design); with Gram matrices the first is free and the
    second costs m T. Sparse designs have no loops with residuals.
    """
    if not problem.is_dense:
        return True
    n = problem.n_samples * (problem.n_tasks // problem.n_grams)
    with_residuals = _PASSES * m / 2 * 2 * n * _LOOP
    with_grams = _PASSES * m / 2 * m * problem.n_tasks * _LOOP + problem.n_samples * m * m * _PRODUCT
    return with_grams <= with_residuals and fits(problem, m)
