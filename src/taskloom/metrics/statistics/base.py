"""The direction of a test and the checks that every statistic makes at its door."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from taskloom.errors import DataError

__all__ = ["Alternative", "finite_vector", "tail_share"]

Alternative = Literal["two_sided", "less", "greater"]

#: Statistics that differ by less than this share of their scale are ties (rounding must not decide a p value).
TOLERANCE = 1e-12


def finite_vector(values: ArrayLike, what: str) -> np.ndarray:
    """Values as a float64 vector, or an error that says which entry is not finite.

    Example:
        >>> finite_vector([1, 2], "differences")
        array([1., 2.])
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1:
        raise DataError(f"{what}: found shape {vector.shape}, expected one number per seed, shape (n,)")
    broken = np.flatnonzero(~np.isfinite(vector))
    if len(broken):
        raise DataError(
            f"{what}: found {vector[broken[0]]} at position {broken[0]}, expected finite numbers. "
            "Leave out the runs that failed, and say so."
        )
    return vector


def tail_share(null: np.ndarray, observed: float, *, scale: float, alternative: Alternative) -> float:
    """Share of a null distribution at least as extreme as what was observed.

    Args:
        null: values of the statistic under the null hypothesis, shape (m,).
        observed: observed value.
        scale: size of the numbers behind the statistic; ties are taken within 1e-12 of it.
        alternative: which side counts as extreme.

    Returns:
        share in [0, 1].

    Example:
        >>> tail_share(np.array([-1.0, 0.0, 1.0]), 1.0, scale=1.0, alternative="two_sided")
        0.666...
    """
    slack = TOLERANCE * scale
    if alternative == "less":
        return float((null <= observed + slack).mean())
    if alternative == "greater":
        return float((null >= observed - slack).mean())
    return float((np.abs(null) >= abs(observed) - slack).mean())
