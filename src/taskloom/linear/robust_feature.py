r"""Tasks that use the same features, but for outliers that go their own way.

    penalty(A) = min over P + Q = A of  alpha_feature sum_j ||p^j||_2 + alpha_outlier sum_t ||q_t||_2

with the rows p^j of P (one feature of all tasks) and the columns q_t of Q (one task).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.linear._two_parts import TwoPartModel, parts_of
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.column_norm import ColumnNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.task_column import TaskRows

__all__ = ["RobustFeature", "RobustFeatureClassifier"]


class _RobustFeature(TwoPartModel):
    def __init__(
        self,
        alpha_feature: float = 0.1,
        *,
        alpha_outlier: float = 0.1,
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
        self.alpha_feature = alpha_feature
        self.alpha_outlier = alpha_outlier

    def _penalty(self, n_tasks: int, n_features: int) -> PartSum | None:
        feature = check_number("alpha_feature", self.alpha_feature)
        outlier = check_number("alpha_outlier", self.alpha_outlier)
        return PartSum((RowNorm(feature), ColumnNorm(outlier))) if feature > 0 and outlier > 0 else None

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.coef_shared_, self.coef_outlier_ = parts_of(solution)
        self.selected_features_ = np.flatnonzero(self.coef_shared_.any(axis=0))
        self.outlier_tasks_ = self.tasks_[self.coef_outlier_.any(axis=1)]


class RobustFeature(TaskRegressor, _RobustFeature):
    r"""Linear regression of tasks that use the same few features, with outlier tasks found and left alone (rMTFL).

    Use it where most tasks suit :class:`MultiTaskGroupLasso` and some may need other features. What a task has beside
    the common features is a vector of its own that is 0 unless it pays: tasks with one are ``outlier_tasks_``. With
    ``alpha_outlier >= sqrt(d) alpha_feature`` there are none, and it is :class:`MultiTaskGroupLasso`; with
    ``alpha_feature >= sqrt(T) alpha_outlier`` no feature is common, and tasks are fitted apart.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_feature sum_j ||p^j||_2
                  +  alpha_outlier sum_t ||q_t||_2,    A = P + Q

    Args:
        alpha_feature: strength of the lengths of the rows, at least 0; default 0.1.
        alpha_outlier: strength of the lengths of the tasks' own vectors, at least 0; default 0.1. One of the two being
            0 means least squares for each task.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        outlier_tasks_: labels of the tasks with a vector of their own.
        selected_features_: positions of the features that the tasks have in common.
        coef_shared_, coef_outlier_: (T, d) the parts.
        coef_: (T, d) their sum.
        intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Gong, Ye & Zhang, Robust multi-task feature learning, KDD 2012.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(60, 6)), np.zeros((6, 5))
        >>> A[:2] = rng.normal(size=(2, 5)) + 2
        >>> A[:, 4] = rng.normal(size=6)  # the last task uses all features
        >>> model = RobustFeature(0.2, alpha_outlier=0.26).fit(X, X @ A)
        >>> model.selected_features_, model.outlier_tasks_
        (array([0, 1]), array([4]))
    """


class RobustFeatureClassifier(TaskClassifier, _RobustFeature):
    """Logistic regression of tasks that use the same few features, with outlier tasks found and left alone.

    The twin of :class:`RobustFeature` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha_feature: strength of the lengths of the rows, positive; default 0.01.
        alpha_outlier: strength of the lengths of the tasks' own vectors, positive; default 0.01.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        outlier_tasks_, selected_features_, coef_shared_, coef_outlier_: as in :class:`RobustFeature`.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`RobustFeature`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> RobustFeatureClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha_feature: float = 0.01,
        *,
        alpha_outlier: float = 0.01,
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
            alpha_feature,
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
