"""The kernel over the columns beside the task column: scikit-learn's, by name, or any function of two tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, pairwise_kernels

from taskloom.errors import DataError, nearest
from taskloom.task_column import check_number

__all__ = ["BaseKernel", "Kernel", "scaled_gamma"]

Array = NDArray[np.float64]
Kernel = str | Callable[[Any, Any], Any]


@dataclass(frozen=True)
class BaseKernel:
    """A kernel with its constants.

    Args:
        kernel: name of a kernel of ``sklearn.metrics.pairwise``, or a function of two tables (n, d) and (m, d) that
            gives (n, m): kernels of ``sklearn.gaussian_process.kernels`` are such functions.
        gamma: as in scikit-learn; None for 1 / d.
        degree: of the polynomial kernel.
        coef0: of the polynomial and the sigmoid kernel.
        offset: a constant added to all values, at least 0: with less, values would be no kernel.
    """

    kernel: Kernel
    gamma: float | None
    degree: float
    coef0: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse constants out of range, whether this kernel uses them or not."""
        check_number("degree", self.degree)
        check_number("coef0", self.coef0, least=-math.inf)
        check_number("offset", self.offset)

    def __call__(self, X: Any, Y: Any) -> Array:
        """(n, m) values."""
        if not isinstance(self.kernel, str):
            if not callable(self.kernel):
                raise DataError(f"kernel={self.kernel!r}; expected the name of a kernel or a function of two tables")
            values = np.asarray(self.kernel(X, Y), dtype=np.float64)
            if values.shape != (X.shape[0], Y.shape[0]):
                raise DataError(
                    f"the kernel gave an array of shape {values.shape} for tables of {X.shape[0]} and {Y.shape[0]} "
                    f"rows; expected {(X.shape[0], Y.shape[0])}"
                )
            return values + self.offset
        if self.kernel not in PAIRWISE_KERNEL_FUNCTIONS:
            raise DataError(f"kernel={self.kernel!r} is unknown.{nearest(self.kernel, PAIRWISE_KERNEL_FUNCTIONS)}")
        values = pairwise_kernels(
            X, Y, metric=self.kernel, filter_params=True, gamma=self.gamma, degree=self.degree, coef0=self.coef0
        )
        return np.asarray(values.toarray() if issparse(values) else values, dtype=np.float64) + self.offset


def scaled_gamma(gamma: float | str | None, inputs: Any, weights: Array) -> float | None:
    """The number for ``"scale"``: 1 / (d var(X)) over all entries, rows weighted; other values as they are.

    Args:
        gamma: a number, ``"scale"``, ``"auto"`` (1 / d) or None.
        inputs: (n, d).
        weights: (n,).
    """
    if not isinstance(gamma, str):
        return None if gamma is None else check_number("gamma", gamma, note='or "scale", "auto", None')
    if gamma == "auto":
        return None
    if gamma != "scale":
        raise DataError(f'gamma={gamma!r}; expected a number, "scale", "auto" or None')
    shares = weights / weights.sum()
    squares = inputs.multiply(inputs) if issparse(inputs) else inputs**2
    mean = float(np.mean(shares @ inputs))
    variance = float(np.mean(shares @ squares)) - mean**2
    return 1.0 / (inputs.shape[1] * variance) if variance > 0 else 1.0
