r"""How far tasks use the same features, and what that means for the choice of a penalty.

Penalties on rows of the coefficients (``sum_j ||a^j||_q``) gain from features that all tasks use and lose from features
that one task uses: these cost as much as if all tasks used them. Two tasks with s features each, of which a fraction
``kappa`` is common, need fewer samples under l1/linf than under the element-wise l1 only if ``kappa > 2/3``.

For l1 and l1/l2 the number of samples can be estimated for any pattern. With Gaussian features and no noise, a norm
recovers coefficients from about as many samples as the statistical dimension of its descent cone; for k active out of
d groups of T numbers that is

    min over tau of  k (T + tau^2) + (d - k) E(chi_T - tau)_+^2

with chi_T the length of a Gaussian vector of T numbers. The element-wise l1 is the case of groups of one number.
With 200 features and 2 or 4 tasks, recovery in half of the trials was measured within 5 % of the estimate for l1/l2 and
about 10 % above it for l1, which has to succeed in each task by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaincc, gammaln

from taskloom.errors import DataError

__all__ = ["FeatureOverlap", "feature_overlap"]

Array = NDArray[np.float64]
KAPPA_FOR_LINF = 2 / 3  # Negahban & Wainwright 2008, two tasks, coefficients of equal size
CLEAR = 0.1  # estimates that differ by less than this fraction are not told apart


@dataclass(frozen=True)
class FeatureOverlap:
    """What :func:`feature_overlap` found; ``print`` it for the advice.

    Args:
        sizes: (T,) number of features that each task uses.
        n_used: number of features that at least one task uses.
        n_features: number of all features, d.
        pairs: (T, T) fraction of common features, 2 |S_s and S_t| / (|S_s| + |S_t|); NaN for two tasks without any.
        overlap: mean of ``pairs`` over pairs of different tasks; NaN if no pair of tasks uses features.
        evenness: how equal the coefficients of one feature are: mean over used features of the mean absolute value over
            the largest one; 1 where all tasks use a feature equally, 1/T where one task uses it.
        samples_elementwise: estimated samples per task that the element-wise l1 needs without noise.
        samples_rows: the same of l1/l2.

    Example:
        >>> feature_overlap(np.eye(2, 40)).overlap
        0.0
    """

    sizes: NDArray[np.intp]
    n_used: int
    n_features: int
    pairs: Array
    overlap: float
    evenness: float
    samples_elementwise: float
    samples_rows: float

    @property
    def advice(self) -> str:
        """Which penalty suits the pattern, in a sentence."""
        if self.n_used == 0:
            return "No task uses any feature: the penalty is too strong to say anything."
        if len(self.sizes) == 1:
            return "There is one task: penalties on rows are the element-wise l1."
        if self.n_used == self.n_features and bool((self.sizes == self.n_features).all()):
            return (
                "Every task uses every feature: the coefficients are not sparse, and this measure says nothing. Couple "
                "the tasks by their mean, a graph or a low rank instead."
            )
        ratio = self.samples_rows / self.samples_elementwise
        estimate = (
            f"estimated samples per task without noise: {self.samples_rows:.0f} for l1/l2, "
            f"{self.samples_elementwise:.0f} for the element-wise l1"
        )
        if ratio > 1 + CLEAR:
            return f"Element-wise l1 (MultiTaskLasso1): a penalty on whole rows is likely to lose; {estimate}."
        if ratio > 1 - CLEAR:
            return f"No clear winner between rows and entries; try the DirtyModel, which has both; {estimate}."
        also = " and l1/linf" if self.overlap > KAPPA_FOR_LINF and self.evenness > KAPPA_FOR_LINF else ""
        beside = "" if self.overlap > 1 - CLEAR else "; compare with the DirtyModel, since some features are not common"
        return f"Rows: l1/l2{also} (MultiTaskGroupLasso) are likely to need fewer samples{beside}; {estimate}."

    def __str__(self) -> str:
        return (
            f"{len(self.sizes)} tasks use {self.n_used} of {self.n_features} features, {self.sizes.mean():.1f} each; "
            f"mean overlap {self.overlap:.2f}, evenness {self.evenness:.2f}.\n{self.advice}"
        )


def feature_overlap(coef: Any, *, threshold: float = 0.0) -> FeatureOverlap:
    """Measure how far tasks use the same features.

    Coefficients of an element-wise lasso at a cross-validated penalty are a natural input: a penalty on rows makes the
    tasks share features whether they do or not.

    Args:
        coef: (T, d) coefficients, as in ``coef_``.
        threshold: a coefficient counts as used if its absolute value is larger; default 0, which suits solvers that
            give exact zeros.

    Returns:
        the measures and the advice.

    Raises:
        DataError: not two axes, or numbers that are not finite.

    Source:
        overlap fraction and 2/3: Negahban & Wainwright, Joint support recovery under high-dimensional scaling: benefits
        and perils of l1,inf-regularization, NIPS 2008.
        Statistical dimension: Amelunxen, Lotz, McCoy & Tropp, Living on the edge, Information and Inference 2014.

    Example:
        >>> coef = np.zeros((3, 100))
        >>> coef[:, :10] = 1.0
        >>> print(feature_overlap(coef))
        3 tasks use 10 of 100 features, 10.0 each; mean overlap 1.00, evenness 1.00.
        Rows: l1/l2 and l1/linf (MultiTaskGroupLasso) are likely to need fewer samples; estimated samples per task ...
    """
    sizes = np.abs(np.asarray(coef, dtype=np.float64))
    if sizes.ndim != 2 or not sizes.size or not np.isfinite(sizes).all():
        raise DataError(f"coef has shape {sizes.shape}; expected finite numbers of shape (tasks, features)")
    n_tasks, n_features = sizes.shape
    used = sizes > threshold
    counts = used.sum(axis=1)
    n_used = int(used.any(axis=0).sum())
    pairs = _pairs(used)
    between = pairs[~np.eye(n_tasks, dtype=bool)]
    rows = sizes[:, used.any(axis=0)]
    return FeatureOverlap(
        sizes=counts,
        n_used=n_used,
        n_features=n_features,
        pairs=pairs,
        overlap=float(np.nanmean(between)) if np.isfinite(between).any() else float("nan"),
        evenness=float((rows.mean(axis=0) / rows.max(axis=0)).mean()) if n_used else float("nan"),
        samples_elementwise=_dimension(int(counts.sum()), n_groups=n_tasks * n_features, width=1) / n_tasks,
        samples_rows=_dimension(n_used, n_groups=n_features, width=n_tasks) / n_tasks,
    )


def _pairs(used: NDArray[np.bool_]) -> Array:
    """Dice coefficient of every pair of supports: the common fraction where both are of one size."""
    numbers = used.astype(np.float64)
    counts = numbers.sum(axis=1)
    total = counts[:, None] + counts[None, :]
    pairs: Array = np.divide(2 * numbers @ numbers.T, total, out=np.full(total.shape, np.nan), where=total > 0)
    return pairs


def _dimension(n_active: int, *, n_groups: int, width: int) -> float:
    """Statistical dimension of the descent cone of the sum of the lengths of groups, where some of them are active."""

    def at(tau: float) -> float:
        return n_active * (width + tau**2) + (n_groups - n_active) * _excess(tau, width)

    largest = np.sqrt(width) + np.sqrt(2 * np.log(n_groups) + 1) + 5
    return min(float(minimize_scalar(at, bounds=(0.0, largest), method="bounded").fun), float(n_groups * width))


def _excess(tau: float, width: int) -> float:
    """Mean of max(chi - tau, 0)^2, chi the length of a Gaussian vector of ``width`` numbers."""
    half, edge = width / 2, tau**2 / 2
    mean_above = np.sqrt(2) * np.exp(gammaln(half + 0.5) - gammaln(half)) * gammaincc(half + 0.5, edge)
    above = width * gammaincc(half + 1, edge) - 2 * tau * mean_above + tau**2 * gammaincc(half, edge)
    return max(float(above), 0.0)
