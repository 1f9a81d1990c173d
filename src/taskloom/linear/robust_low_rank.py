r"""Tasks that share a few directions, but for outliers that go their own way.

    penalty(A) = min over L + S = A of  alpha_trace ||L||_* + alpha_outlier sum_t ||s_t||_2

with the columns s_t of S, one for each task.
"""

from __future__ import annotations

from typing import Any, Literal

from taskloom.linear._low_rank import rank_of
from taskloom.linear._two_parts import TwoPartModel, parts_of
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.column_norm import ColumnNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.trace import Trace
from taskloom.task_column import TaskRows

__all__ = ["RobustLowRank", "RobustLowRankClassifier"]


class _RobustLowRank(TwoPartModel):
    def __init__(
        self,
        alpha_trace: float = 0.1,
        *,
        alpha_outlier: float = 0.08,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.alpha_trace = alpha_trace
        self.alpha_outlier = alpha_outlier

    def _penalty(self, n_tasks: int, n_features: int) -> PartSum | None:
        trace = check_number("alpha_trace", self.alpha_trace)
        outlier = check_number("alpha_outlier", self.alpha_outlier)
        return PartSum((Trace(trace), ColumnNorm(outlier))) if trace > 0 and outlier > 0 else None

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.coef_low_rank_, self.coef_outlier_ = parts_of(solution)
        self.rank_ = rank_of(self.coef_low_rank_)
        self.outlier_tasks_ = self.tasks_[self.coef_outlier_.any(axis=1)]


class RobustLowRank(TaskRegressor, _RobustLowRank):
    r"""Linear regression of tasks that share a few directions, with outlier tasks found and left to themselves (RMTL).

    Use it where most tasks suit :class:`TraceNorm` and some may not belong to them. What a task has beside the common
    directions is a vector of its own that is 0 unless it pays: tasks with one are ``outlier_tasks_``. With
    ``alpha_outlier >= alpha_trace`` there are none, and it is :class:`TraceNorm`; with
    ``alpha_trace >= sqrt(T) alpha_outlier`` all are, and tasks are fitted apart. The useful region is between.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_trace ||L||_*
                  +  alpha_outlier sum_t ||s_t||_2,    A = L + S

    Args:
        alpha_trace: strength of the trace norm, at least 0; default 0.1.
        alpha_outlier: strength of the lengths of the tasks' own vectors, at least 0; default 0.08. One of the two being
            0 means least squares for each task.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        outlier_tasks_: labels of the tasks with a vector of their own.
        coef_low_rank_, coef_outlier_: (T, d) the parts.
        rank_: rank of ``coef_low_rank_``.
        coef_: (T, d) their sum.
        intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Chen, Zhou & Ye, Integrating low-rank and group-sparse structures for robust multi-task learning, KDD 2011.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(60, 6)), np.outer(rng.normal(size=6), rng.normal(size=12))
        >>> A[:, 5] = 2 * rng.normal(size=6)  # one task is unlike the others
        >>> RobustLowRank(0.5, alpha_outlier=0.35).fit(X, X @ A).outlier_tasks_
        array([5])
    """


class RobustLowRankClassifier(TaskClassifier, _RobustLowRank):
    """Logistic regression of tasks that share a few directions, with outlier tasks found and left to themselves.

    The twin of :class:`RobustLowRank` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha_trace: strength of the trace norm, positive; default 0.01.
        alpha_outlier: strength of the lengths of the tasks' own vectors, positive; default 0.008.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        outlier_tasks_, coef_low_rank_, coef_outlier_, rank_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_:
            as in :class:`RobustLowRank`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> RobustLowRankClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha_trace: float = 0.01,
        *,
        alpha_outlier: float = 0.008,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        single_class: Literal["error", "constant"] = "error",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            alpha_trace,
            alpha_outlier=alpha_outlier,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
