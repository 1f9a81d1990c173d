r"""Features selected for all tasks together, with coefficients that change slowly from task to task.

    penalty(A) = alpha_group sum_j ||a^j||_2 + alpha_temporal / 2 sum_t ||a_{t+1} - a_t||^2 + alpha_ridge / 2 ||A||^2

for tasks in an order.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.linear._ordered import OrderedModel
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.linear.graph import graph_laplacian
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupled import Coupled, with_coupling
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.regularised.penalties.elastic import with_ridge
from taskloom.regularised.penalties.row_norm import RowNorm

__all__ = ["TemporalGroupLasso", "TemporalGroupLassoClassifier"]


class _TemporalGroupLasso(OrderedModel):
    def __init__(
        self,
        alpha_group: float = 0.1,
        *,
        alpha_temporal: float = 0.1,
        alpha_ridge: float = 0.01,
        order: Any = None,
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
        self.alpha_group = alpha_group
        self.alpha_temporal = alpha_temporal
        self.alpha_ridge = alpha_ridge
        self.order = order

    def _penalty(self, n_tasks: int, n_features: int) -> Penalty | TaskCoupling | Coupled | None:
        group = check_number("alpha_group", self.alpha_group)
        temporal = check_number("alpha_temporal", self.alpha_temporal)
        ridge = check_number("alpha_ridge", self.alpha_ridge)
        squares = _squares(n_tasks, temporal=temporal, ridge=ridge)
        if group == 0:
            return squares
        rows = RowNorm(group)
        if squares is None or n_tasks == 1 or temporal == 0:
            return with_ridge(rows, ridge)
        return with_coupling(rows, squares)


def _squares(n_tasks: int, *, temporal: float, ridge: float) -> TaskCoupling | None:
    """``temporal / 2 sum_t ||a_{t+1} - a_t||^2 + ridge / 2 ||A||^2``."""
    path = graph_laplacian(np.eye(n_tasks, k=1) + np.eye(n_tasks, k=-1))
    if ridge > 0:
        return TaskCoupling.to_neighbours(path, alpha=ridge, coupling=temporal / ridge)
    return TaskCoupling.of_matrix(temporal * path) if temporal > 0 and n_tasks > 1 else None


class TemporalGroupLasso(TaskRegressor, _TemporalGroupLasso):
    r"""Linear regression of tasks in an order, with few features and coefficients that change slowly.

    Use it where tasks are points in time of one progression, such as scores of a patient after 6, 12, 24 months: the
    same features matter throughout, and their coefficients drift. With ``alpha_temporal=0`` and ``alpha_ridge=0`` it
    is :class:`MultiTaskGroupLasso`, with ``alpha_group=0`` :class:`GraphRegularized` on a path; the larger
    ``alpha_temporal``, the nearer all tasks are to the same coefficients. For coefficients that stay the same and then
    jump, use :class:`FusedSparseGroupLasso`.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_group sum_j ||a^j||_2
                  +  alpha_temporal / 2 sum_t ||a_{t+1} - a_t||^2  +  alpha_ridge / 2 ||A||^2

    Args:
        alpha_group: strength of the lengths of the rows (one feature of all tasks), at least 0; default 0.1.
        alpha_temporal: strength of the squared steps from task to task, at least 0; default 0.1.
        alpha_ridge: strength of a ridge, at least 0; default 0.01. All three 0 mean least squares for each task.
        order: the task labels in their order; None (default): sorted.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`; tasks are sorted there,
            whatever their order is.

    Raises:
        DataError: parameters out of range, an order that does not name every task once, or data that do not fit.

    Source:
        Zhou, Yuan, Liu & Ye, A multi-task learning formulation for predicting disease progression, KDD 2011.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(60, 5)), np.zeros((5, 4))
        >>> A[0] = [1.0, 1.5, 2.0, 2.5]  # one feature matters, more and more
        >>> model = TemporalGroupLasso(0.1, alpha_temporal=0.1).fit(X, X @ A + 0.1 * rng.normal(size=(60, 4)))
        >>> model.coef_.any(axis=0), model.coef_[:, 0].round(2).tolist()
        (array([ True, False, False, False, False]), [1.01, 1.44, 1.90, 2.31])
    """


class TemporalGroupLassoClassifier(TaskClassifier, _TemporalGroupLasso):
    """Logistic regression of tasks in an order, with few features and coefficients that change slowly.

    The twin of :class:`TemporalGroupLasso` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha_group: strength of the lengths of the rows, at least 0; default 0.01.
        alpha_temporal: strength of the squared steps from task to task, at least 0; default 0.01.
        alpha_ridge: strength of a ridge, at least 0; default 0.001. One of the three is positive.
        order: as in :class:`TemporalGroupLasso`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TemporalGroupLasso`.

    Raises:
        DataError: parameters out of range, an order that does not name every task once, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> TemporalGroupLassoClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha_group: float = 0.01,
        *,
        alpha_temporal: float = 0.01,
        alpha_ridge: float = 0.001,
        order: Any = None,
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
            alpha_group,
            alpha_temporal=alpha_temporal,
            alpha_ridge=alpha_ridge,
            order=order,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
