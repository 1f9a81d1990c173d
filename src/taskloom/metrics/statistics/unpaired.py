"""Tests and intervals for two groups of independent runs, whose seeds do not belong together."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from taskloom._rng import numpy_stream
from taskloom.metrics.statistics.base import Alternative, finite_vector, tail_share

__all__ = ["permutation_test", "smallest_p_unpaired", "welch_interval"]

_LARGEST_ENUMERATION = 200_000
_RANDOM_SPLITS = 100_000


def permutation_test(
    first: ArrayLike,
    second: ArrayLike,
    *,
    alternative: Alternative = "two_sided",
    generator: np.random.Generator | None = None,
) -> float:
    """P value of the permutation test of a difference of means between two independent groups of runs.

    If the groups came from the same source, every split of all runs into groups of these sizes was equally likely.
    The p value is the share of splits with a difference at least as extreme. Exact up to 200,000 splits (10 runs a
    group), 100,000 random splits above.

        p = share of splits with |mean(first) - mean(second)| >= observed,   floor 2 / C(2n, n)

    Args:
        first: results of the first group, shape (n,).
        second: results of the second group, shape (m,).
        alternative: ``"two_sided"`` (default); ``"less"`` or ``"greater"``: first is less or greater than second.
        generator: random numbers for large groups; default a fixed stream.

    Returns:
        p value; NaN if a group is empty.

    Raises:
        DataError: a value is not finite.

    Source:
        Pitman, Significance Tests Which May be Applied to Samples From any Populations, JRSS Supplement 4, 1937.

    Example:
        >>> permutation_test([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
        0.1
    """
    left, right = finite_vector(first, "permutation_test"), finite_vector(second, "permutation_test")
    n, m = len(left), len(right)
    if n == 0 or m == 0:
        return math.nan
    pooled = np.concatenate([left, right])
    pooled = pooled - pooled.mean()  # then a difference of means is a multiple of the sum of the first group
    scale = float(np.abs(pooled).sum())
    observed = float(pooled[:n].sum())
    if math.comb(n + m, n) <= _LARGEST_ENUMERATION:
        null = pooled[np.array(list(combinations(range(n + m), n)))].sum(axis=1)
        return tail_share(null, observed, scale=scale, alternative=alternative)
    draws = generator if generator is not None else numpy_stream(0, "permutation test")
    hits = 0.0
    for _ in range(_RANDOM_SPLITS // 1000):
        splits = draws.permuted(np.tile(pooled, (1000, 1)), axis=1)[:, :n].sum(axis=1)
        hits += 1000 * tail_share(splits, observed, scale=scale, alternative=alternative)
    return (1.0 + hits) / (1.0 + _RANDOM_SPLITS)


def smallest_p_unpaired(n_first: int, n_second: int) -> float:
    """Smallest two-sided p value of :func:`permutation_test`: 2 / C(n + m, n) for groups of equal size.

    Groups of different sizes reach 1 / C(n + m, n), because mirrored splits do not exist.

    Example:
        >>> [round(smallest_p_unpaired(n, n), 4) for n in (3, 4, 5)]
        [0.1, 0.0286, 0.0079]
    """
    if n_first < 1 or n_second < 1:
        return math.nan
    return min(1.0, (2.0 if n_first == n_second else 1.0) / math.comb(n_first + n_second, n_first))


def welch_interval(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of mean(first) - mean(second) by Welch's t, for groups with different spreads.

    Args:
        first: results of the first group, shape (n,).
        second: results of the second group, shape (m,).
        confidence: probability of covering the difference of the means of normal data; default 0.95.

    Returns:
        lower and upper end; NaN with fewer than two runs in a group.

    Raises:
        DataError: a value is not finite.

    Source:
        Welch, The Generalization of "Student's" Problem when Several Different Population Variances are Involved,
        Biometrika 34, 1947.

    Example:
        >>> low, high = welch_interval([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
        >>> round(low, 3), round(high, 3)
        (-5.267, -0.733)
    """
    from scipy.special import stdtrit

    left, right = finite_vector(first, "welch_interval"), finite_vector(second, "welch_interval")
    if len(left) < 2 or len(right) < 2:
        return math.nan, math.nan
    parts = np.array([left.var(ddof=1) / len(left), right.var(ddof=1) / len(right)])
    difference = float(left.mean() - right.mean())
    if parts.sum() == 0.0:
        return difference, difference
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([len(left), len(right)]) - 1)).sum()
    reach = float(stdtrit(freedom, 0.5 + 0.5 * confidence)) * math.sqrt(float(parts.sum()))
    return difference - reach, difference + reach
