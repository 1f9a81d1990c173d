"""Several tasks tested at once: corrected p values, and how many seeds a correction needs."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from taskloom.errors import DataError

__all__ = ["benjamini_hochberg", "holm", "seeds_needed"]


def holm(p_values: ArrayLike) -> np.ndarray:
    """P values corrected by Holm's method: the chance of any false finding among the tasks stays below alpha.

        q_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)

    Args:
        p_values: one p value per task, shape (K,). NaN (no test was possible) stays NaN and is not counted in m.

    Returns:
        corrected p values, shape (K,), in the order given.

    Raises:
        DataError: a p value is below 0 or above 1.

    Source:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6, 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
    """
    values, tested, order = _ordered(p_values, "holm")
    result = np.full(values.shape, np.nan)
    if len(order):
        factors = len(order) - np.arange(len(order))
        result[tested[order]] = np.minimum(1.0, np.maximum.accumulate(factors * values[tested[order]]))
    return result


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """P values corrected by Benjamini and Hochberg: the expected share of false findings among the findings.

    Finds more than :func:`holm` and promises less: use it to screen many tasks, not to accuse one.

        q_(i) = min_{j >= i} min(1, m p_(j) / j),   p_(1) <= ... <= p_(m)

    Args:
        p_values: one p value per task, shape (K,). NaN (no test was possible) stays NaN and is not counted in m.

    Returns:
        corrected p values, shape (K,), in the order given.

    Raises:
        DataError: a p value is below 0 or above 1.

    Source:
        Benjamini and Hochberg, Controlling the False Discovery Rate, JRSS B 57, 1995.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.04, 0.04]
    """
    values, tested, order = _ordered(p_values, "benjamini_hochberg")
    result = np.full(values.shape, np.nan)
    if len(order):
        raised = values[tested[order]] * (len(order) / np.arange(1, len(order) + 1))
        result[tested[order]] = np.minimum(1.0, np.minimum.accumulate(raised[::-1])[::-1])
    return result


def seeds_needed(n_tasks: int, alpha: float = 0.05, *, is_paired: bool = True) -> int:
    """Fewest seeds with which Holm's correction of exact tests can find anything at level alpha (two-sided).

        paired (sign-flip):       n >= 1 + ceil(log2(K / alpha))
        unpaired (permutation):   2 / C(2n, n) <= alpha / K

    Args:
        n_tasks: number of tasks K tested together; 1 for a single test or for Benjamini-Hochberg.
        alpha: level of the test; default 0.05.
        is_paired: whether the runs of both sides share their seeds; default True.

    Returns:
        number of seeds (of each side).

    Raises:
        DataError: no task, or a level outside (0, 1).

    Example:
        >>> seeds_needed(1), seeds_needed(5), seeds_needed(139), seeds_needed(1, is_paired=False)
        (6, 8, 13, 4)
    """
    if n_tasks < 1 or not 0.0 < alpha < 1.0:
        raise DataError(
            f"seeds_needed: found n_tasks = {n_tasks!r} and alpha = {alpha!r}; expected at least one task and a level "
            "between 0 and 1 such as 0.05"
        )
    n_seeds = 1
    # The floors themselves are compared, without the rounding of a logarithm.
    while n_tasks * (2.0 ** (1 - n_seeds) if is_paired else 2.0 / math.comb(2 * n_seeds, n_seeds)) > alpha:
        n_seeds += 1
    return n_seeds


def _ordered(p_values: ArrayLike, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, positions that have a p value, and the order of those from small to large."""
    values = np.asarray(p_values, dtype=np.float64)
    if values.ndim != 1 or (values < 0.0).any() or (values > 1.0).any():
        raise DataError(f"{what}: found {values.tolist()}, expected p values between 0 and 1, one per task")
    tested = np.flatnonzero(~np.isnan(values))
    return values, tested, np.argsort(values[tested], kind="stable")
