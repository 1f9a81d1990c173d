"""Many tasks, many methods, no averaging of units: performance profiles and mean ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from taskloom.errors import DataError

__all__ = ["PerformanceProfile", "mean_rank", "performance_profile"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceProfile:
    """For every method the share of tasks on which it is within a factor of the best method.

    Args:
        ratios: loss over the best loss of the task, shape (K, M); inf where the method failed.
        factors: factors tau >= 1 at which the profile is tabulated, shape (F,).
        shares: share of tasks with a ratio of at most tau, shape (F, M).

    Example:
        >>> performance_profile([[1.0, 2.0], [3.0, 1.0]], factors=[1, 3]).shares.tolist()
        [[0.5, 0.5], [1.0, 1.0]]
    """

    ratios: np.ndarray
    factors: np.ndarray
    shares: np.ndarray

    @property
    def wins(self) -> np.ndarray:
        """Share of tasks that a method does best, shape (M,); ties count for all."""
        return np.asarray((self.ratios <= 1.0).mean(axis=0))

    @property
    def solved(self) -> np.ndarray:
        """Share of tasks on which a method did not fail, shape (M,)."""
        return np.asarray(np.isfinite(self.ratios).mean(axis=0))


def performance_profile(losses: ArrayLike, *, factors: ArrayLike | None = None) -> PerformanceProfile:
    """Performance profiles of methods over tasks whose losses have different units.

        r[t, m] = L[t, m] / min_m' L[t, m'],     rho_m(tau) = share of tasks t with r[t, m] <= tau

    Read at tau = 1: how often a method is best. Read further right: how often it is not far from the best. Profiles
    depend on the set of methods compared.

    Args:
        losses: positive losses, shape (K, M): K tasks, M methods; inf or NaN where a method failed.
        factors: factors tau at which to tabulate, shape (F,); default: every ratio that occurs, where the steps are.

    Returns:
        ratios and profile.

    Raises:
        DataError: not a table, or a loss that is not positive.

    Source:
        Dolan and More, Benchmarking Optimization Software with Performance Profiles, Mathematical Programming 91, 2002.

    Example:
        >>> performance_profile([[1.0, 2.0], [3.0, float("nan")]]).solved.tolist()
        [1.0, 0.5]
    """
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise DataError(
            f"performance_profile: found shape {table.shape}, expected (tasks, methods) with at least one each"
        )
    if (table <= 0.0).any():
        task, method = (int(place) for place in np.argwhere(table <= 0.0)[0])
        raise DataError(
            f"performance_profile: found the loss {table[task, method]:g} for task {task}, method {method}; expected "
            "positive losses, because the profile compares ratios. Add a constant only if it has a meaning."
        )
    finite = np.where(np.isfinite(table), table, np.inf)
    best = finite.min(axis=1, keepdims=True)  # inf for a task that every method failed
    ratios = np.divide(finite, best, out=np.full(table.shape, np.inf), where=np.isfinite(finite))
    steps = np.unique(ratios[np.isfinite(ratios)]) if factors is None else np.asarray(factors, dtype=np.float64)
    shares = ((ratios[None] <= steps[:, None, None]) & np.isfinite(ratios)[None]).mean(axis=1)  # (F, M)
    return PerformanceProfile(ratios=ratios, factors=steps, shares=shares)


def mean_rank(
    scores: ArrayLike,
    *,
    lower_is_better: bool | Sequence[bool] = True,
    ties: Literal["average", "dense"] = "average",
) -> np.ndarray:
    """Mean rank of methods over metrics; 1 is best.

    Easy to read and easy to misread: it ignores by how much a method is better, and it changes with the set of methods.

    Args:
        scores: shape (R, M): R metrics (or tasks), M methods.
        lower_is_better: direction, one for all rows or one per row.
        ties: ``"average"`` (default): tied methods share the mean of their ranks; ``"dense"``: they share a rank and
            the next method follows directly, as some published tables do.

    Returns:
        mean rank of every method, shape (M,).

    Raises:
        DataError: not a table, a NaN, an unknown tie rule, or a wrong number of directions.

    Example:
        >>> mean_rank([[0.1, 0.2, 0.2], [5.0, 3.0, 4.0]]).tolist()
        [2.0, 1.75, 2.25]
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise DataError(f"mean_rank: found shape {table.shape}, expected (metrics, methods) with at least one each")
    if np.isnan(table).any():
        row, method = (int(place) for place in np.argwhere(np.isnan(table))[0])
        raise DataError(
            f"mean_rank: found NaN for metric {row}, method {method}; expected numbers. Leave one of them out."
        )
    if ties not in ("average", "dense"):
        raise DataError(f"mean_rank: found ties = {ties!r}; expected 'average' or 'dense'")
    lower = (
        np.broadcast_to(np.asarray(lower_is_better, dtype=bool), len(table))
        if np.ndim(lower_is_better) == 0
        else (np.asarray(lower_is_better, dtype=bool))
    )
    if lower.shape != (len(table),):
        raise DataError(f"mean_rank: found {len(lower)} directions for {len(table)} metrics; expected one per metric")
    oriented = np.where(lower[:, None], table, -table)
    if ties == "dense":
        ranks = np.array([np.unique(row, return_inverse=True)[1].reshape(-1) + 1 for row in oriented])
    else:
        below = (oriented[:, None, :] < oriented[:, :, None]).sum(axis=2)  # methods better than this one, (R, M)
        equal = (oriented[:, None, :] == oriented[:, :, None]).sum(axis=2)  # this one included
        ranks = below + 0.5 * (equal + 1)
    return np.asarray(ranks.mean(axis=0))
