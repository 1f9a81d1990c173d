"""The data of a regularised risk: designs, targets and weights by task, and what a solution of it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, diags_array, issparse

__all__ = ["Array", "Design", "Solution", "TaskData"]

Array: TypeAlias = NDArray[np.float64]
Design: TypeAlias = Array | csc_array


@dataclass(frozen=True)
class TaskData:
    """Samples of T tasks with one set of d features.

    The risk is ``sum_t sum_i weights_t[i] * loss(targets_t[i], designs_t[i] @ A[:, t] + b[t])``. Nothing is checked
    here: the estimators check what users give.

    Args:
        designs: ``X_t``, shape (n_t, d), float64, dense or compressed by columns; one object T times where all tasks
            share their samples.
        targets: ``y_t``, shape (n_t,); -1.0 and 1.0 for two classes.
        weights: ``c_t s_ti``, shape (n_t,), not negative: loss weight of the task times weight of the sample.
        fit_intercept: whether each task has an intercept of its own; it is never penalised.

    Example:
        >>> X = np.eye(3)
        >>> data = TaskData((X, X), (np.ones(3), np.zeros(3)), (np.full(3, 1 / 3), np.full(3, 1 / 3)), True)
        >>> data.n_tasks, data.n_features, data.is_shared
        (2, 3, True)
    """

    designs: tuple[Design, ...]
    targets: tuple[Array, ...]
    weights: tuple[Array, ...]
    fit_intercept: bool = True

    @property
    def n_tasks(self) -> int:
        """T."""
        return len(self.designs)

    @property
    def n_features(self) -> int:
        """Columns of every design, d."""
        return int(self.designs[0].shape[1])

    @cached_property
    def is_shared(self) -> bool:
        """Whether all tasks have the same samples with the same weights: one Gram matrix serves them all."""
        first, weights = self.designs[0], self.weights[0]
        return all(design is first for design in self.designs) and all(
            other is weights or np.array_equal(other, weights) for other in self.weights
        )

    def masked(self, mask: NDArray[np.bool_]) -> TaskData:
        """Data in which some features do not exist for some tasks: their coefficients stay 0.

        The columns of what does not exist become 0. Then a penalty that does not gain from filling in such
        coefficients leaves them at 0: norms of rows, columns and entries do; couplings and norms of singular values do
        not.

        Args:
            mask: which coefficients may differ from 0, shape (d, T).

        Returns:
            new data with a design of its own for every task.
        """
        designs = tuple(
            csc_array(X @ diags_array(mask[:, t].astype(np.float64))) if issparse(X) else np.where(mask[:, t], X, 0.0)
            for t, X in enumerate(self.designs)
        )
        return TaskData(designs, self.targets, self.weights, self.fit_intercept)


@dataclass(frozen=True)
class Solution:
    """A minimiser with its certificate: the objective is at most ``gap`` above the smallest one there is.

    Args:
        parts: shapes (d, T); the coefficients are their sum. One part unless the penalty is a sum over parts.
        intercepts: shape (T,).
        objective: risk plus penalty at this point.
        gap: objective minus a lower bound of every objective (a dual value).
        n_iterations: passes of the solver that was used; what a pass is depends on the solver.
        converged: whether the gap is as small as was asked.

    Example:
        >>> solution = Solution((np.ones((3, 2)), np.eye(3, 2)), np.zeros(2), 1.5, 1e-9, 12, True)
        >>> solution.coefficients.tolist()
        [[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]]
    """

    parts: tuple[Array, ...]
    intercepts: Array
    objective: float
    gap: float
    n_iterations: int
    converged: bool

    @property
    def coefficients(self) -> Array:
        """Sum of the parts, shape (d, T)."""
        total = self.parts[0].copy()
        for part in self.parts[1:]:
            total += part
        return total
