r"""Tasks whose coefficients lie near a few common directions.

    penalty(A) = alpha ||A||_* + l2 / 2 ||A||^2

with the trace norm, the sum of the singular values of A (d, T).
"""

from __future__ import annotations

from typing import Any, Literal

from taskloom.linear._coupled import CoupledModel
from taskloom.linear._low_rank import rank_of, ridge_alone
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.regularised.penalties.elastic import with_ridge
from taskloom.regularised.penalties.trace import Trace
from taskloom.task_column import TaskRows

__all__ = ["TraceNorm", "TraceNormClassifier"]


class _TraceNorm(CoupledModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        l2: float = 0.0,
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
        self.l2 = l2

    def _penalty(self, n_tasks: int, n_features: int) -> Penalty | TaskCoupling | None:
        alpha, l2 = check_number("alpha", self.alpha), check_number("l2", self.l2)
        return with_ridge(Trace(alpha), l2) if alpha > 0 else ridge_alone(n_tasks, l2)

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.rank_ = rank_of(self.coef_)


class TraceNorm(TaskRegressor, _TraceNorm):
    r"""Linear regression of tasks that share a few directions of coefficients.

    Use it where tasks are mixtures of few unknown causes: the penalty makes the matrix of all coefficients low in rank,
    as the lasso makes coefficients few. The directions are found, features need not be sparse. Each new task direction
    costs as much as its length, so large coefficients are shrunk too. With one task the penalty is ``alpha ||a||_2``;
    with one feature it is that of :class:`MultiTaskGroupLasso`. Turning the features turns the coefficients.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha ||A||_*  +  l2 / 2 ||A||^2

    Solved by splitting (one eigendecomposition per task, one singular value decomposition per iteration) where the Gram
    matrices fit into memory, by accelerated proximal gradients otherwise.

    Args:
        alpha: strength of the trace norm, at least 0; default 0.1. From the largest singular value of the gradients at
            0 on, all coefficients are exactly 0.
        l2: strength of a ridge beside it, at least 0; default 0. Both 0 mean least squares for each task.
        task_feature: position or name of the task column of X; None (default): all tasks share the rows of X.
        fit_intercept: an intercept for every task (default) or none; intercepts are not penalised.
        loss_weights: how much tasks count: ``"sample"`` (default), ``"task"`` or T positive numbers.
        tol: a duality gap up to this fraction of the risk at zero coefficients counts as converged.
        max_iter: iterations at most.
        warm_start: begin with the solution of the last ``fit``; matters to iterations only.
        unknown_task: an error (default) for tasks that ``fit`` did not see, or ``"mean"``: the mean of all tasks.

    Attributes:
        rank_: rank of ``coef_``, the number of common directions.
        coef_: (T, d).
        intercept_: (T,).
        tasks_: (T,) task labels, sorted: the order of rows everywhere.
        dual_gap_: the objective is at most this much above the smallest possible one.
        objective_: the minimised value.
        n_iter_: iterations made.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Argyriou, Evgeniou & Pontil, Convex multi-task feature learning, Machine Learning 2008; Ji & Ye, An accelerated
        gradient method for trace norm minimization, ICML 2009; Pong, Tseng, Ji & Ye, Trace norm regularization:
        reformulations, algorithms, and multi-task learning, SIAM J. Optim. 2010.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, directions = rng.normal(size=(50, 6)), rng.normal(size=(6, 2))  # two causes of ten tasks
        >>> Y = X @ directions @ rng.normal(size=(2, 10)) + 0.1 * rng.normal(size=(50, 10))
        >>> TraceNorm(0.2).fit(X, Y).rank_
        2
    """


class TraceNormClassifier(TaskClassifier, _TraceNorm):
    """Logistic regression of tasks that share a few directions of coefficients.

    The twin of :class:`TraceNorm` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength of the trace norm, at least 0; default 0.01.
        l2: strength of a ridge beside it, at least 0, positive where ``alpha`` is 0; default 0.
        task_feature, fit_intercept, loss_weights, tol, warm_start, unknown_task: as in :class:`TraceNorm`.
        max_iter: Newton steps at most, and iterations within each.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        rank_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> TraceNormClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        l2: float = 0.0,
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
            l2=l2,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
