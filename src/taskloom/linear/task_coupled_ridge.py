"""Ridge and logistic regression of tasks under any quadratic coupling, ``alpha / 2 tr(A Q A')``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse

from taskloom.errors import DataError
from taskloom.linear._coupled import CoupledModel
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["TaskCoupledRidge", "TaskCoupledRidgeClassifier"]

ROUNDING = 1e-8  # relative asymmetry, and relative size of a negative eigenvalue, that pass for rounding


class _TaskCoupledRidge(CoupledModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        task_precision: Any = None,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 1000,
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
        self.task_precision = task_precision

    def _penalty(self, n_tasks: int, n_features: int) -> TaskCoupling | None:
        alpha = check_number("alpha", self.alpha)
        precision = _check_precision(self.task_precision, n_tasks)
        if alpha == 0 or not precision.any():
            return None
        return TaskCoupling.of_matrix(alpha * precision)


def _check_precision(task_precision: Any, n_tasks: int) -> NDArray[np.float64]:
    """Q as a symmetric matrix without negative eigenvalues."""
    if task_precision is None:
        return np.eye(n_tasks)
    dense = task_precision.toarray() if issparse(task_precision) else task_precision
    precision = np.asarray(dense, dtype=np.float64)
    if precision.shape != (n_tasks, n_tasks) or not np.isfinite(precision).all():
        raise DataError(
            f"task_precision has shape {precision.shape}; expected finite numbers of shape ({n_tasks}, {n_tasks}), one "
            "row and column per task in the order of the sorted labels"
        )
    largest = float(np.abs(precision).max())
    asymmetry = float(np.abs(precision - precision.T).max())
    if asymmetry > ROUNDING * largest:
        raise DataError(f"task_precision is not symmetric (Q - Q' has entries up to {asymmetry:.3g}); use (Q + Q') / 2")
    symmetric: NDArray[np.float64] = (precision + precision.T) / 2
    least = float(np.linalg.eigvalsh(symmetric)[0])
    if least < -ROUNDING * largest:
        raise DataError(
            f"task_precision has the eigenvalue {least:.3g}; expected a positive definite matrix (or one with "
            "eigenvalues of at least 0, where the data say the rest)"
        )
    return symmetric


class TaskCoupledRidge(TaskRegressor, _TaskCoupledRidge):
    r"""Ridge regression of tasks with a precision matrix over tasks that you give.

    Use it where the relation of the tasks is known: a kernel between tasks has its inverse as precision. For a common
    mean, a graph or clusters use :class:`MeanRegularized`, :class:`GraphRegularized`, :class:`ClusteredTasks`.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2 + alpha / 2 sum_st Q_st a_s . a_t

    The system is solved exactly by the quickest of five ways; the duality gap is that of rounding.

    Args:
        alpha: strength, at least 0; default 0.1. 0 means least squares for each task.
        task_precision: Q, (T, T), symmetric without negative eigenvalues, in the order of the sorted task labels; None
            (default): the identity, which is independent ridge regression.
        task_feature: position or name of the task column of X; None (default): all tasks share the rows of X.
        fit_intercept: an intercept for every task (default) or none; intercepts are not penalised.
        loss_weights: how much tasks count: ``"sample"`` (default), ``"task"`` or T positive numbers.
        tol: a duality gap up to this fraction of the risk at zero coefficients counts as converged.
        max_iter: iterations at most, where the problem is too large to be solved directly.
        warm_start: begin with the solution of the last ``fit``; matters to iterations only.
        unknown_task: an error (default) for tasks that ``fit`` did not see, or ``"mean"``: the mean of all tasks.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MeanRegularized`.

    Raises:
        DataError: parameters out of range, a matrix that is no precision, or data that do not fit.

    Source:
        Evgeniou, Micchelli & Pontil, Learning multiple tasks with kernel methods, JMLR 2005.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0, 1.0], [0, 2.0], [0, 3.0], [1, 1.0], [1, 3.0]])
        >>> y = np.array([1.0, 2.0, 3.0, 3.0, 9.0])
        >>> kernel = np.array([[1.0, 0.9], [0.9, 1.0]])
        >>> TaskCoupledRidge(0.1, task_precision=np.linalg.inv(kernel), task_feature=0).fit(X, y).coef_.ravel()
        array([1.432, 2.321])
    """


class TaskCoupledRidgeClassifier(TaskClassifier, _TaskCoupledRidge):
    """Logistic regression of tasks with a precision matrix over tasks that you give.

    The twin of :class:`TaskCoupledRidge` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength, positive; default 0.1.
        task_precision, task_feature, fit_intercept, loss_weights, tol, warm_start, unknown_task: as in
            :class:`TaskCoupledRidge`.
        max_iter: Newton steps at most.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MeanRegularizedClassifier`.

    Raises:
        DataError: parameters out of range, a matrix that is no precision, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> TaskCoupledRidgeClassifier(0.01).fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        task_precision: Any = None,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        single_class: Literal["error", "constant"] = "error",
        tol: float = 1e-6,
        max_iter: int = 100,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            alpha,
            task_precision=task_precision,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
