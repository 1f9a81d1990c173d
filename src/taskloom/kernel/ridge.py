"""Kernel ridge regression of several tasks."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike

from taskloom.kernel._base_kernel import Kernel
from taskloom.kernel._kernel_ridge import KernelRidgeBase, shape_of
from taskloom.task_column import check_number

__all__ = ["MultiTaskKernelRidge"]


class MultiTaskKernelRidge(KernelRidgeBase):
    """Kernel ridge regression whose tasks are tied by a quadratic penalty; solved exactly, with leave-one-out for free.

    ``coupling=1`` makes the tasks independent, larger values pull them to their mean (or to their neighbours in a
    graph). With ``kernel="linear"`` it is the task-coupled ridge. Where all tasks share their rows and every label is
    known, the eigenbases of the two small matrices B and k replace the nT x nT system.

        min over f_t, b_t  sum_t c_t sum_i s_ti (y_ti - f_t(x_ti) - b_t)^2 / 2 + (alpha / 2) sum_st Q_st <f_s, f_t>

        mean (default):  Q = J + coupling (I - J), J = 11' / T
        graph:           Q = I + coupling L, L the Laplacian of the graph

    Args:
        alpha: strength of the penalty, positive; default 0.1. scikit-learn's ``KernelRidge`` has n alpha in its place.
        kernel: name of a kernel of ``sklearn.metrics.pairwise`` or a function of two tables; default ``"rbf"``.
        coupling: positive; 1 for independent tasks; default 10. With a graph: at least 0, and 0 for independent tasks.
            Not beside a ``task_precision``.
        graph: weights between tasks, (T, T), not negative, in the order of ``tasks_``; default none.
        task_precision: Q itself, (T, T), positive definite; default none.
        gamma: a number, ``"scale"`` (1 / (d var(X))), ``"auto"`` or None (1 / d, default).
        degree, coef0: constants of the polynomial and sigmoid kernel; others ignore them, as in scikit-learn.
        fit_intercept: whether each task has an intercept, which is not penalised; default True.
        loss_weights: ``"sample"`` (default), ``"task"`` or T positive numbers; see
            :func:`taskloom.task_column.loss_factors`.
        task_feature: position or name of the task column; None: all tasks share the rows, y is (n, T) and may have
            missing labels (NaN).
        unknown_task: at predict, ``"error"`` or ``"mean"``: the mean of the functions of all tasks.

    Attributes:
        tasks_, n_tasks_: labels of the tasks.
        task_covariance_: B, the inverse of Q, (T, T).
        dual_coef_: as y, 0 where there is no label.
        intercept_: (T,).
        coef_: (T, d), for the linear kernel.
        objective_, dual_gap_: value of the problem, and how far above the smallest it can be.

    Raises:
        DataError, TaskError: at fit, for data and ranges.

    Cost:
        O(N^3) and N x N numbers; O(n^3 + T^3 + n^2 T + n T^2) where tasks share n rows.

    Differs from the paper:
        intercepts are free.

    Source:
        T. Evgeniou, C. Micchelli, M. Pontil, Learning Multiple Tasks with Kernel Methods, JMLR 6, 2005; for leaving out
        one sample G. Cawley, N. Talbot, Fast exact leave-one-out cross-validation of sparse least-squares support
        vector machines, Neural Networks 17, 2004.

    Example:
        >>> import numpy as np
        >>> X = np.linspace(0, 3, 8)[:, None]
        >>> Y = np.hstack([np.sin(X), np.sin(X) + 0.1, np.sin(X) - 0.1])
        >>> model = MultiTaskKernelRidge(1e-3).fit(X, Y)
        >>> bool(np.abs(model.predict(X) - Y).max() < 0.1), model.leave_one_out(X, Y).shape
        (True, (8, 3))
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
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
        self.alpha = alpha
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
        """Solve the problem.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column.
            sample_weight: (n,) or (n, T).
        """
        alpha = check_number("alpha", self.alpha, is_open=True)
        problem, rows = self._problem(X, y, sample_weight)
        self._set_solution(problem, alpha, shape=shape_of(rows, y))
        return self

    def _own_alpha(self) -> float:
        return self.alpha
