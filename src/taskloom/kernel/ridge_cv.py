"""Kernel ridge regression of several tasks that chooses alpha by leaving out one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from taskloom.errors import DataError
from taskloom.kernel._base_kernel import Kernel
from taskloom.kernel._kernel_ridge import Array, KernelRidgeBase, check_alphas, shape_of
from taskloom.kernel._ridge_problem import Problem
from taskloom.task_column import check_flag

__all__ = ["MultiTaskKernelRidgeCV"]


class MultiTaskKernelRidgeCV(KernelRidgeBase):
    """:class:`MultiTaskKernelRidge` with alpha chosen by exact leave-one-out, for the price of one eigendecomposition.

    The error of each alpha is the mean squared error of all labels, each predicted without the row of X it stands in:
    where y has a column per task, the other labels of a row would tell about it, as those of a new row cannot. Sample
    weights count labels: a label of weight 2 is two labels, one of which is left out at a time.

    Args:
        alphas: values to try; default 50 values from the trace of the weighted kernel down to 1e-8 of it.
        average: ``"micro"``: every sample counts the same (default), or ``"macro"``: every task does.
        one_standard_error: take the largest alpha whose error is at most one standard error above the smallest.
        kernel, coupling, graph, task_precision, gamma, degree, coef0: see :class:`MultiTaskKernelRidge`.
        fit_intercept, loss_weights, task_feature, unknown_task: see there.

    Attributes:
        alpha_: the alpha chosen.
        alphas_, mse_path_: values tried, descending, and their errors.
        tasks_, task_covariance_, dual_coef_, coef_, intercept_: see :class:`MultiTaskKernelRidge`.
        objective_, dual_gap_: see there.

    Raises:
        DataError, TaskError: at fit, for data and ranges.

    Cost:
        O(N^3); O(n^3 + T^3) where tasks share n rows; O(N^2) for each alpha.

    Source:
        G. Cawley, N. Talbot, Fast exact leave-one-out cross-validation of sparse least-squares support vector machines,
        Neural Networks 17, 2004.

    Example:
        >>> import numpy as np
        >>> generator = np.random.default_rng(0)
        >>> X = np.linspace(0, 3, 20)[:, None]
        >>> Y = np.sin(X) + 0.1 * generator.normal(size=(20, 3))
        >>> model = MultiTaskKernelRidgeCV(coupling=100.0).fit(X, Y)
        >>> bool(model.alphas_[-1] < model.alpha_ < model.alphas_[0])
        True
    """

    def __init__(
        self,
        alphas: ArrayLike | None = None,
        *,
        average: Literal["micro", "macro"] = "micro",
        one_standard_error: bool = False,
        kernel: Kernel = "rbf",
        coupling: float = 10.0,
        graph: ArrayLike | None = None,
        task_precision: ArrayLike | None = None,
        gamma: float | str | None = None,
        degree: float = 3,
        coef0: float = 1.0,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        task_feature: int | str | None = None,
        unknown_task: str = "error",
    ) -> None:
        self.alphas = alphas
        self.average = average
        self.one_standard_error = one_standard_error
        self.kernel = kernel
        self.coupling = coupling
        self.graph = graph
        self.task_precision = task_precision
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.fit_intercept = fit_intercept
        self.loss_weights = loss_weights
        self.task_feature = task_feature
        self.unknown_task = unknown_task

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Choose alpha and solve the problem.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column.
            sample_weight: (n,) or (n, T); also weighs the errors.
        """
        if self.average not in ("micro", "macro"):
            raise DataError(f'average={self.average!r}; expected "micro" or "macro"')
        check_flag("one_standard_error", self.one_standard_error)
        problem, rows = self._problem(X, y, sample_weight)
        self.alphas_ = self._grid(problem)
        squares = problem.left_out(list(self.alphas_)) ** 2
        counted = np.isfinite(squares).all(axis=0)
        if not counted.any():
            raise DataError(
                "no label can be predicted from the others: every task has 1 sample; choose alpha by hand "
                "(MultiTaskKernelRidge), or set fit_intercept=False"
            )
        weights = np.where(counted, problem.samples.weights, 0.0)
        if self.average == "macro":
            weights = weights / np.maximum(np.bincount(problem.samples.tasks, weights), 1e-300)[problem.samples.tasks]
        shares = weights / weights.sum()
        squares = np.where(counted, squares, 0.0)
        self.mse_path_ = squares @ shares
        best = int(np.argmin(self.mse_path_))
        if self.one_standard_error:
            error = np.sqrt(shares**2 @ (squares[best] - self.mse_path_[best]) ** 2)
            best = int(np.argmax(self.mse_path_ <= self.mse_path_[best] + error))
        self.alpha_ = float(self.alphas_[best])
        self._set_solution(problem, self.alpha_, shape=shape_of(rows, y))
        return self

    def _grid(self, problem: Problem) -> Array:
        if self.alphas is not None:
            return np.sort(check_alphas(self.alphas))[::-1]
        top = problem.trace()
        return (top if top > 0 else 1.0) * np.logspace(0, -8, 50)

    def _own_alpha(self) -> float:
        return super()._own_alpha() if not hasattr(self, "alpha_") else self.alpha_

    def leave_one_out(
        self, X: Any, y: Any, *, sample_weight: Any = None, alphas: Sequence[float] | None = None
    ) -> Array:
        """As :meth:`MultiTaskKernelRidge.leave_one_out`; without ``alphas`` for the alpha that was chosen.

        Args:
            X: as in ``fit``.
            y: as in ``fit``.
            sample_weight: as in ``fit``.
            alphas: strengths of the penalty.
        """
        found = super().leave_one_out(
            X, y, sample_weight=sample_weight, alphas=[self._own_alpha()] if alphas is None else alphas
        )
        return found if alphas is not None else found[0]
