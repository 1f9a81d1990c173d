r"""Few features, few tasks within them, and coefficients that stay the same over stretches of tasks.

    penalty(A) = alpha_l1 ||A||_1 + alpha_fused sum_t ||a_{t+1} - a_t||_1 + alpha_group sum_j ||a^j||_2

for tasks in an order.
"""

from __future__ import annotations

from typing import Any, Literal

from sklearn.base import is_classifier

from taskloom.errors import DataError
from taskloom.linear._ordered import OrderedModel
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.fused import FusedRows
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.regularised.penalties.sparse_group import SparseGroup
from taskloom.regularised.variation import solve_variation

__all__ = ["FusedSparseGroupLasso", "FusedSparseGroupLassoClassifier"]


class _FusedSparseGroupLasso(OrderedModel):
    def __init__(
        self,
        alpha_l1: float = 0.1,
        *,
        alpha_fused: float = 0.1,
        alpha_group: float = 0.1,
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
        self.alpha_l1 = alpha_l1
        self.alpha_fused = alpha_fused
        self.alpha_group = alpha_group
        self.order = order

    def _penalty(self, n_tasks: int, n_features: int) -> Penalty | None:
        entries = check_number("alpha_l1", self.alpha_l1)
        fused = check_number("alpha_fused", self.alpha_fused)
        rows = check_number("alpha_group", self.alpha_group)
        if fused > 0 and n_tasks > 1:
            if entries == rows == 0 and is_classifier(self):
                raise DataError(
                    "alpha_l1 and alpha_group are both 0, so coefficients that all tasks have in common cost nothing "
                    "and may have no finite best value; make one of them positive"
                )
            return FusedRows(entries, fused, rows)
        if entries == 0:
            return RowNorm(rows) if rows > 0 else None
        return SparseGroup(entries, rows) if rows > 0 else EntryNorm(entries)

    def _solve_ordered(self, data: TaskData, penalty: Any, start: Solution | None) -> Solution:
        if isinstance(penalty, FusedRows) and penalty.alpha_entries == penalty.alpha_rows == 0:
            return solve_variation(data, penalty.alpha_fused, tol=self.tol, max_iterations=self.max_iter, start=start)
        return super()._solve_ordered(data, penalty, start)


class FusedSparseGroupLasso(TaskRegressor, _FusedSparseGroupLasso):
    r"""Linear regression of tasks in an order, with few features whose coefficients change rarely (cFSGL).

    Use it where tasks are points in time and effects begin, end or jump at some of them: coefficients are equal over
    stretches of tasks, and features or single entries are exactly 0. ``alpha_fused=0`` is the sparse group lasso; a
    large ``alpha_fused`` gives all tasks the same coefficients; ``alpha_fused`` alone is the fused lasso of each
    feature. For coefficients that drift, use :class:`TemporalGroupLasso`.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_l1 ||A||_1
                  +  alpha_fused sum_t ||a_{t+1} - a_t||_1  +  alpha_group sum_j ||a^j||_2

    Args:
        alpha_l1: strength of the absolute values, at least 0; default 0.1.
        alpha_fused: strength of the absolute steps from task to task, at least 0; default 0.1.
        alpha_group: strength of the lengths of the rows (one feature of all tasks), at least 0; default 0.1. All three
            0 mean least squares for each task.
        order: the task labels in their order; None (default): sorted.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`; tasks are sorted there,
            whatever their order is.

    Raises:
        DataError: parameters out of range, an order that does not name every task once, or data that do not fit.

    Source:
        Zhou, Liu, Narayan & Ye, Modeling disease progression via fused sparse group lasso, KDD 2012 (the convex form).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(80, 4)), np.zeros((4, 5))
        >>> A[0, 2:] = 2.0  # one effect, from the third point in time on
        >>> model = FusedSparseGroupLasso(0.1).fit(X, X @ A + 0.1 * rng.normal(size=(80, 5)))
        >>> model.coef_[:, 0], bool(model.coef_[:, 1:].any())
        (array([0.  , 0.  , 1.78, 1.78, 1.78]), False)
    """


class FusedSparseGroupLassoClassifier(TaskClassifier, _FusedSparseGroupLasso):
    """Logistic regression of tasks in an order, with few features whose coefficients change rarely.

    The twin of :class:`FusedSparseGroupLasso` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha_l1: strength of the absolute values, at least 0; default 0.01.
        alpha_fused: strength of the absolute steps from task to task, at least 0; default 0.01.
        alpha_group: strength of the lengths of the rows, at least 0; default 0.01. This one or ``alpha_l1`` is
            positive.
        order: as in :class:`FusedSparseGroupLasso`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`FusedSparseGroupLasso`.

    Raises:
        DataError: parameters out of range, an order that does not name every task once, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> FusedSparseGroupLassoClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha_l1: float = 0.01,
        *,
        alpha_fused: float = 0.01,
        alpha_group: float = 0.01,
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
            alpha_l1,
            alpha_fused=alpha_fused,
            alpha_group=alpha_group,
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
