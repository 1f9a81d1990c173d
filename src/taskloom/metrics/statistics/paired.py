"""Tests and intervals for paired differences: one number per seed, both sides run with that seed.

    d_s = gain of learning together at seed s,   n seeds,   H0: the differences are symmetric around 0

With few seeds the exact tests have a floor, ``p >= 2^(1-n)`` (two-sided): five seeds can never give p <= 0.05.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from taskloom._rng import numpy_stream
from taskloom.errors import DataError
from taskloom.metrics.statistics.base import TOLERANCE, Alternative, finite_vector, tail_share

__all__ = [
    "LARGEST_ENUMERATION",
    "WilcoxonResult",
    "sign_flip_test",
    "smallest_p",
    "t_interval",
    "t_test",
    "wilcoxon_test",
]

#: Up to this number of seeds all 2^n sign patterns are enumerated.
LARGEST_ENUMERATION = 20
_RANDOM_FLIPS = 100_000


def sign_flip_test(
    differences: ArrayLike,
    *,
    alternative: Alternative = "two_sided",
    generator: np.random.Generator | None = None,
) -> float:
    """P value of the sign-flip permutation test of the mean: exact for up to 20 seeds.

    If learning together changed nothing, every difference could as well have had the opposite sign. The p value is the
    share of all 2^n sign patterns whose mean is at least as extreme as the observed one (the observed one included).

        p = 2^-n  #{ e in {-1, 1}^n : |mean(e d)| >= |mean(d)| }

    Ties are counted within 1e-12 of the mean size of the differences. Above 20 seeds, 100,000 random patterns are
    drawn, and the observed one is added: ``p = (1 + hits) / (1 + 100000)``.

    Args:
        differences: one number per seed, shape (n,).
        alternative: ``"two_sided"`` (default), ``"less"`` or ``"greater"`` than 0.
        generator: random numbers for more than 20 seeds; default a fixed stream, so that the answer is reproducible.

    Returns:
        p value; 1 if every difference is 0; NaN without differences.

    Raises:
        DataError: a difference is not finite.

    Source:
        Fisher, The Design of Experiments, 1935, section 21.

    Example:
        >>> sign_flip_test([-1.2, -0.4, -2.1, -0.9, 0.3])
        0.125
    """
    values = finite_vector(differences, "sign_flip_test")
    if len(values) == 0:
        return math.nan
    observed, scale = float(values.sum()), float(np.abs(values).sum())
    if len(values) <= LARGEST_ENUMERATION:
        null = np.zeros(1)
        for value in values:  # sums of all sign patterns, 2^n of them
            null = np.concatenate([null + value, null - value])
        return tail_share(null, observed, scale=scale, alternative=alternative)
    draws = generator if generator is not None else numpy_stream(0, "sign flips")
    hits = 0.0
    for _ in range(_RANDOM_FLIPS // 1000):
        signs = draws.integers(0, 2, size=(1000, len(values))) * 2 - 1
        hits += 1000 * tail_share(signs @ values, observed, scale=scale, alternative=alternative)
    return (1.0 + hits) / (1.0 + _RANDOM_FLIPS)


def smallest_p(n_seeds: int) -> float:
    """Smallest two-sided p value that the sign-flip test (and Wilcoxon's) can give with n seeds: 2^(1-n).

    Example:
        >>> [smallest_p(n) for n in (1, 3, 5, 6)]
        [1.0, 0.25, 0.0625, 0.03125]
    """
    return float(min(1.0, 2.0 ** (1 - n_seeds)))


@dataclass(frozen=True, slots=True)
class WilcoxonResult:
    """Outcome of :func:`wilcoxon_test`.

    Args:
        p: p value.
        statistic: sum of the ranks of the positive differences.
        n_zeros: number of differences equal to 0, which carry no sign.

    Example:
        >>> WilcoxonResult(p=0.25, statistic=0.0, n_zeros=0).p
        0.25
    """

    p: float
    statistic: float
    n_zeros: int


def wilcoxon_test(
    differences: ArrayLike,
    *,
    alternative: Alternative = "two_sided",
    zero_method: Literal["wilcox", "pratt", "zsplit"] = "wilcox",
) -> WilcoxonResult:
    """Wilcoxon's signed-rank test, exact for any number of seeds.

    Ranks the sizes of the differences and asks whether the ranks of one sign are too large together. Less moved by one
    extreme seed than the test of the mean; it has the same floor 2^(1-n).

        W = sum of ranks of |d_s| over d_s > 0,   null: every rank is positive or negative with probability 1/2

    Tied sizes get their average rank, and the null distribution is that of these ranks, so the p value stays exact (the
    usual tables and normal approximations are not, with ties).

    Args:
        differences: one number per seed, shape (n,).
        alternative: ``"two_sided"`` (default), ``"less"`` or ``"greater"`` than 0.
        zero_method: what is done with zeros. ``"wilcox"`` (default) drops them, and counts them in the result;
            ``"pratt"`` ranks them, then drops them; ``"zsplit"`` splits their ranks between both signs.

    Returns:
        p value, statistic and number of zeros; p is 1 if every difference is 0, NaN without differences.

    Raises:
        DataError: a difference is not finite.

    Source:
        Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1(6), 1945; Pratt, Remarks on Zeros and
        Ties in the Wilcoxon Signed Rank Procedures, JASA 54, 1959.

    Example:
        >>> wilcoxon_test([-1.2, -0.4, -2.1, -0.9, 0.3]).p
        0.125
    """
    values = finite_vector(differences, "wilcoxon_test")
    if len(values) == 0:
        return WilcoxonResult(p=math.nan, statistic=math.nan, n_zeros=0)
    n_zeros = int((values == 0).sum())
    if zero_method == "wilcox":
        values = values[values != 0]
    doubled = _doubled_ranks(np.abs(values))  # twice the ranks: integers even with ties
    of_zeros = int(doubled[values == 0].sum()) // 2 if zero_method == "zsplit" else 0
    free = doubled[values != 0]
    if len(free) == 0:
        return WilcoxonResult(p=1.0, statistic=0.5 * of_zeros, n_zeros=n_zeros)
    share = np.ones(1)  # share[w] = probability that the positive ranks sum to w / 2
    for rank in free:
        grown = np.zeros(len(share) + int(rank))
        grown[: len(share)] += 0.5 * share
        grown[int(rank) :] += 0.5 * share
        share = grown
    positive = int(doubled[values > 0].sum())
    below, above = float(share[: positive + 1].sum()), float(share[positive:].sum())
    p = {"less": below, "greater": above, "two_sided": min(1.0, 2.0 * min(below, above))}[alternative]
    return WilcoxonResult(p=min(1.0, p), statistic=0.5 * (positive + of_zeros), n_zeros=n_zeros)


def _doubled_ranks(sizes: np.ndarray) -> np.ndarray:
    """Twice the ranks of sizes, ties averaged: always whole numbers. Shape (n,), int64."""
    if len(sizes) == 0:
        return np.zeros(0, dtype=np.int64)
    order = np.sort(sizes)
    slack = TOLERANCE * float(order[-1])
    first = np.searchsorted(order, sizes - slack, side="left")
    last = np.searchsorted(order, sizes + slack, side="right")
    return (first + last + 1).astype(np.int64)


def t_interval(differences: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean difference by Student's t: mean +- t sd / sqrt(n).

    With three seeds the multiplier t is 4.303, with five 2.776: the width of the interval is the message.

    Args:
        differences: one number per seed, shape (n,).
        confidence: probability with which such intervals cover the mean of normal differences; default 0.95.

    Returns:
        lower and upper end; NaN with fewer than two differences.

    Raises:
        DataError: a difference is not finite, or the confidence is not between 0 and 1.

    Example:
        >>> low, high = t_interval([-1.0, -2.0, -0.5])
        >>> round(low, 3), round(high, 3)
        (-3.064, 0.731)
    """
    from scipy.special import stdtrit

    values = finite_vector(differences, "t_interval")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"t_interval: found confidence {confidence!r}, expected a number between 0 and 1 such as 0.95")
    if len(values) < 2:
        return math.nan, math.nan
    reach = float(stdtrit(len(values) - 1, 0.5 + 0.5 * confidence)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean - reach, mean + reach


def t_test(differences: ArrayLike) -> float:
    """Two-sided p value of Student's paired t test; trusts that the differences are normal.

    Shown for comparison with published tables; verdicts use :func:`sign_flip_test`, which trusts nothing.

    Args:
        differences: one number per seed, shape (n,).

    Returns:
        p value; NaN with fewer than two differences; 1 if all are 0; 0 if all are equal and not 0.

    Raises:
        DataError: a difference is not finite.

    Example:
        >>> round(t_test([-1.2, -0.4, -2.1, -0.9, 0.3]), 4)
        0.0984
    """
    from scipy.special import stdtr

    values = finite_vector(differences, "t_test")
    if len(values) < 2:
        return math.nan
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if spread == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return float(2.0 * stdtr(len(values) - 1, -abs(mean) / (spread / math.sqrt(len(values)))))
