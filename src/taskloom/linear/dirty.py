r"""Some features selected for all tasks together, some for single tasks.

    penalty(A) = min over P + Q = A of  alpha_shared sum_j ||p^j||_q + alpha_specific sum_jt |q_jt|

with the rows p^j of P: one feature of all tasks.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.linear._row_parameters import check_power, middle_ratio
from taskloom.linear._two_parts import TwoPartModel, parts_of
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.task_column import TaskRows

__all__ = ["DirtyModel", "DirtyModelClassifier"]


class _DirtyModel(TwoPartModel):
    def __init__(
        self,
        alpha_shared: float = 0.1,
        *,
        alpha_specific: float | None = None,
        q: float = np.inf,
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
        self.alpha_shared = alpha_shared
        self.alpha_specific = alpha_specific
        self.q = q

    def _penalty(self, n_tasks: int, n_features: int) -> PartSum | None:
        shared, q = check_number("alpha_shared", self.alpha_shared), check_power("q", self.q)
        if self.alpha_specific is None:
            specific = shared / middle_ratio(n_tasks, q)
        else:
            specific = check_number("alpha_specific", self.alpha_specific)
        return PartSum((RowNorm(shared, q), EntryNorm(specific))) if shared > 0 and specific > 0 else None

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.coef_shared_, self.coef_specific_ = parts_of(solution)


class DirtyModel(TaskRegressor, _DirtyModel):
    r"""Linear regression of tasks that share some features and have others of their own (dirty model).

    Use it where :class:`MultiTaskGroupLasso` is right for some features and :class:`MultiTaskLasso1` for others: the
    coefficients are the sum of a part whose rows are selected together and a part whose entries are selected one by
    one. Both parts are of use for ratios ``alpha_shared / alpha_specific`` between 1 and ``T^(1/q*)`` with
    ``1/q + 1/q* = 1`` (T itself for q = inf): from there on nothing is shared, up to 1 nothing is specific.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_shared sum_j ||p^j||_q
                  +  alpha_specific sum_jt |q_jt|,    A = P + Q

    Args:
        alpha_shared: strength of the norms of rows, at least 0; default 0.1.
        alpha_specific: strength of the absolute values, at least 0; None (default): ``alpha_shared`` divided by the
            geometric mean of both ends of the useful range of ratios, ``T^(1/(2 q*))``. One of the two being 0 means
            least squares for each task.
        q: norm of the rows; infinity (default, as in the paper) or another number of at least 1.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        coef_: (T, d), the sum of both parts.
        coef_shared_, coef_specific_: (T, d) the parts. Only their sum is determined by the data: where coefficients
            cost the same in both parts, they may be in either.
        intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Jalali, Ravikumar, Sanghavi & Ruan, A dirty model for multi-task learning, NIPS 2010.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(80, 20)), np.zeros((20, 4))
        >>> A[3] = [1.0, -1.0, 1.0, 1.0]  # shared by all tasks
        >>> A[8, 1] = 1.0  # of one task
        >>> model = DirtyModel(0.5).fit(X, X @ A + 0.1 * rng.normal(size=(80, 4)))
        >>> np.flatnonzero(model.coef_shared_.any(axis=0)), np.argwhere(model.coef_specific_)
        (array([3]), array([[1, 8]]))
    """


class DirtyModelClassifier(TaskClassifier, _DirtyModel):
    """Logistic regression of tasks that share some features and have others of their own (dirty model).

    The twin of :class:`DirtyModel` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha_shared: strength of the norms of rows, positive; default 0.01.
        alpha_specific: strength of the absolute values, positive; None (default) as in :class:`DirtyModel`.
        q: as in :class:`DirtyModel`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        coef_shared_, coef_specific_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in
            :class:`DirtyModel`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> DirtyModelClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha_shared: float = 0.01,
        *,
        alpha_specific: float | None = None,
        q: float = np.inf,
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
            alpha_shared,
            alpha_specific=alpha_specific,
            q=q,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
