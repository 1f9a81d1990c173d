r"""Features selected for all tasks together.

    penalty(A) = alpha sum_j w_j ||a^j||_q + l2 / 2 ||A||^2

with the rows a^j of A (d, T): one feature of all tasks.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.linear._coupled import CoupledModel
from taskloom.linear._low_rank import ridge_alone
from taskloom.linear._row_parameters import norm_of_rows
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.regularised.penalties.elastic import with_ridge
from taskloom.task_column import TaskRows

__all__ = ["MultiTaskGroupLasso", "MultiTaskGroupLassoClassifier"]


class _MultiTaskGroupLasso(CoupledModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        q: Any = 2.0,
        l2: float = 0.0,
        feature_weights: Any = None,
        groups: Any = None,
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
        self.alpha = alpha
        self.q = q
        self.l2 = l2
        self.feature_weights = feature_weights
        self.groups = groups

    def _penalty(self, n_tasks: int, n_features: int) -> Penalty | TaskCoupling | None:
        alpha, l2 = check_number("alpha", self.alpha), check_number("l2", self.l2)
        norm = norm_of_rows(alpha, q=self.q, weights=self.feature_weights, groups=self.groups, n_features=n_features)
        return with_ridge(norm, l2) if alpha > 0 else ridge_alone(n_tasks, l2)

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.selected_features_ = np.flatnonzero(self.coef_.any(axis=0))


class MultiTaskGroupLasso(TaskRegressor, _MultiTaskGroupLasso):
    r"""Linear regression of tasks that use the same few features (l1/lq group lasso).

    Use it where the features that matter are the same for all tasks, with coefficients of their own in each. A feature
    is taken for all tasks or for none. With q = 2 the tasks may have coefficients of any size; with q = inf a feature
    costs as much as its largest coefficient, so the others are drawn up to it; with q = 1 the tasks are lassos by
    themselves. Where tasks share fewer than about two thirds of their features, selecting together does harm: see
    :class:`MultiTaskLasso1` and :class:`DirtyModel`. On shared rows with q = 2 it is scikit-learn's
    ``MultiTaskElasticNet`` with another convention for the strengths.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha sum_j w_j ||a^j||_q  +  l2 / 2 ||A||^2

    Solved by coordinate descent over the rows on working sets, compiled where numba is installed.

    Args:
        alpha: strength of the norms, at least 0; default 0.1. From the largest norm of the gradients at 0 on, all
            coefficients are exactly 0.
        q: norm of the rows, from 1 to infinity; a number (default 2), or one for each feature.
        l2: strength of a ridge, at least 0; default 0. ``alpha`` and ``l2`` both 0 mean least squares for each task.
        feature_weights: ``w_j``, not negative, one for each feature; 0 for features that are not penalised. None
            (default): all 1.
        groups: a label for each feature: features of one label are selected together, by the norm of all their
            coefficients; ``feature_weights`` and q are then those of the first feature of each group. None (default):
            each feature by itself.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        selected_features_: positions of the features with coefficients other than 0.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        q = 2: Obozinski, Taskar & Jordan, Joint covariate selection and joint subspace selection for multiple
        classification problems, Statistics and Computing 2010; q = inf: Turlach, Venables & Wright, Simultaneous
        variable selection, Technometrics 2005; any q: Liu & Ye, Efficient l1/lq norm regularization, 2010; the share of
        common features: Negahban & Wainwright, Simultaneous support recovery in high dimensions, 2011.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(50, 20)), np.zeros((20, 4))
        >>> A[[3, 8]] = rng.normal(size=(2, 4))  # two features matter to all four tasks
        >>> MultiTaskGroupLasso(0.3).fit(X, X @ A + 0.1 * rng.normal(size=(50, 4))).selected_features_
        array([3, 8])
    """


class MultiTaskGroupLassoClassifier(TaskClassifier, _MultiTaskGroupLasso):
    """Logistic regression of tasks that use the same few features (l1/lq group lasso).

    The twin of :class:`MultiTaskGroupLasso` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength of the norms, at least 0; default 0.01.
        q: as in :class:`MultiTaskGroupLasso`.
        l2: strength of a ridge, at least 0, positive where ``alpha`` is 0; default 0.
        feature_weights, groups: as in :class:`MultiTaskGroupLasso`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        selected_features_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in
            :class:`MultiTaskGroupLasso`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> MultiTaskGroupLassoClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        q: Any = 2.0,
        l2: float = 0.0,
        feature_weights: Any = None,
        groups: Any = None,
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
            alpha,
            q=q,
            l2=l2,
            feature_weights=feature_weights,
            groups=groups,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
