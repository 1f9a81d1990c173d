"""Bootstrap intervals: what resampling the seeds (and the rows) that we have says about the mean.

Percentile intervals are too narrow for small n - with three seeds they can never leave the range of the data - so they
are labelled ``"descriptive"`` below ten seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from taskloom._rng import numpy_stream
from taskloom.errors import DataError
from taskloom.metrics.statistics.base import finite_vector

__all__ = ["BootstrapInterval", "bootstrap_interval", "two_level_bootstrap"]

_LARGEST_ENUMERATION = 6
_FEWEST_FOR_INFERENCE = 10


@dataclass(frozen=True, slots=True)
class BootstrapInterval:
    """A percentile interval and how far it can be trusted.

    Args:
        low: lower end.
        high: upper end.
        n_resamples: number of resamples behind it.
        is_exact: True if all resamples were enumerated.
        label: ``"descriptive"`` for fewer than 10 seeds, else ``"bootstrap"``.

    Example:
        >>> bootstrap_interval([1.0, 2.0, 4.0]).label
        'descriptive'
    """

    low: float
    high: float
    n_resamples: int
    is_exact: bool
    label: str


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    generator: np.random.Generator | None = None,
) -> BootstrapInterval:
    """Percentile interval of the mean over resampled seeds; all n^n resamples for up to six seeds.

    Args:
        values: one number per seed, shape (n,).
        confidence: share of the resampled means inside the interval; default 0.95.
        n_resamples: random resamples for more than six seeds; default 10,000.
        generator: random numbers for more than six seeds; default a fixed stream, so that the answer is reproducible.

    Returns:
        the interval; NaN ends without values.

    Raises:
        DataError: a value is not finite.

    Source:
        Efron, Bootstrap Methods: Another Look at the Jackknife, Annals of Statistics 7, 1979.

    Example:
        >>> interval = bootstrap_interval([-1.2, -0.4, -2.1, -0.9, 0.3])
        >>> round(interval.low, 2), round(interval.high, 2), interval.n_resamples, interval.is_exact
        (-1.58, -0.18, 3125, True)
    """
    # Resampling does not depend on the order of the seeds: sorting makes the random case independent of it too.
    data = np.sort(finite_vector(values, "bootstrap_interval"))
    n = len(data)
    if n == 0:
        return BootstrapInterval(math.nan, math.nan, 0, True, "descriptive")
    if n <= _LARGEST_ENUMERATION:
        sums = np.zeros(1)
        for _ in range(n):
            sums = np.add.outer(sums, data).reshape(-1)  # one more seed drawn, in all n ways
        means = sums / n
    else:
        draws = generator if generator is not None else numpy_stream(0, "bootstrap")
        means = data[draws.integers(0, n, size=(n_resamples, n))].mean(axis=1)
    return _percentile_interval(means, confidence, n_seeds=n, is_exact=n <= _LARGEST_ENUMERATION)


def two_level_bootstrap(
    row_differences: Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    n_resamples: int = 10_000,
    generator: np.random.Generator | None = None,
) -> BootstrapInterval:
    """Percentile interval of the mean over resampled seeds and, inside each drawn seed, resampled test rows.

    Answers "this test set" and "this training noise" together; prefer it to :func:`bootstrap_interval` where the
    errors of single test rows are at hand.

    Args:
        row_differences: per seed, the per-row differences in loss, shape (rows of this seed,).
        confidence: share of the resampled means inside the interval; default 0.95.
        n_resamples: random resamples; default 10,000.
        generator: random numbers; default a fixed stream.

    Returns:
        the interval; a seed's mean weighs the same whatever its number of rows.

    Raises:
        DataError: no seeds, a seed without rows, or a value that is not finite.

    Example:
        >>> interval = two_level_bootstrap([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]], n_resamples=100)
        >>> 1.0 <= interval.low <= interval.high <= 3.0
        True
    """
    seeds = [finite_vector(rows, f"two_level_bootstrap, seed {k}") for k, rows in enumerate(row_differences)]
    if not seeds or any(len(rows) == 0 for rows in seeds):
        raise DataError("two_level_bootstrap: found no seeds or a seed without rows; expected differences of every row")
    draws = generator if generator is not None else numpy_stream(0, "two-level bootstrap")
    drawn = draws.integers(0, len(seeds), size=(n_resamples, len(seeds)))
    means = np.empty(drawn.shape)
    for k, rows in enumerate(seeds):
        chosen = drawn == k
        # A resampled mean of r rows needs only how often each row was drawn: multinomial counts over r.
        block = max(1, 4_000_000 // len(rows))
        parts = [
            draws.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)), size=min(block, total)) @ rows / len(rows)
            for total in range(int(chosen.sum()), 0, -block)
        ]
        if parts:
            means[chosen] = np.concatenate(parts)
    return _percentile_interval(means.mean(axis=1), confidence, n_seeds=len(seeds), is_exact=False)


def _percentile_interval(means: np.ndarray, confidence: float, *, n_seeds: int, is_exact: bool) -> BootstrapInterval:
    """Equal-tailed interval of resampled means (linear interpolation between order statistics)."""
    if not 0.0 < confidence < 1.0:
        raise DataError(f"bootstrap: found confidence {confidence!r}, expected a number between 0 and 1 such as 0.95")
    low, high = np.quantile(means, [0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence])
    label = "descriptive" if n_seeds < _FEWEST_FOR_INFERENCE else "bootstrap"
    return BootstrapInterval(float(low), float(high), len(means), is_exact, label)
