r"""Learning the relations of the tasks, or the covariance of the features, together with the coefficients.

    penalty(A) = alpha / 2 ||A||_*^2 + alpha_ridge / 2 ||A||^2
               = min over Omega >= 0 with trace 1 of  alpha / 2 tr(A Omega^-1 A') + alpha_ridge / 2 ||A||^2
               = min over D >= 0 with trace 1 of      alpha / 2 tr(A' D^-1 A)     + alpha_ridge / 2 ||A||^2

attained at ``Omega = (A'A)^(1/2) / tr (A'A)^(1/2)``, (T, T), and ``D = (AA')^(1/2) / tr (AA')^(1/2)``, (d, d).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from taskloom.linear._coupled import CoupledModel
from taskloom.linear._low_rank import rank_of, ridge_alone, root_of_gram
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.base import Penalty
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.regularised.penalties.elastic import with_ridge
from taskloom.regularised.penalties.trace import SquaredTrace
from taskloom.task_column import TaskRows

__all__ = ["SquaredTraceNorm", "SquaredTraceNormClassifier"]

Array = NDArray[np.float64]


class _SquaredTraceNorm(CoupledModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        alpha_ridge: float = 0.0,
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
        self.alpha_ridge = alpha_ridge

    def _penalty(self, n_tasks: int, n_features: int) -> Penalty | TaskCoupling | None:
        alpha, ridge = check_number("alpha", self.alpha), check_number("alpha_ridge", self.alpha_ridge)
        if alpha == 0 or n_tasks == 1:  # a single task: ||A||_*^2 is the sum of the squares
            return ridge_alone(n_tasks, alpha + ridge)
        return with_ridge(SquaredTrace(alpha), ridge)

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.rank_ = rank_of(self.coef_)

    @property
    def task_covariance_(self) -> Array:
        """(T, T) learnt covariance of the tasks, trace 1: how tasks vary together over features."""
        check_is_fitted(self)
        return root_of_gram(self.coef_)

    @property
    def task_correlation_(self) -> Array:
        """(T, T) the same with a diagonal of 1: from -1, opposite, to 1, the same up to a factor."""
        covariance = self.task_covariance_
        spread = np.sqrt(np.diag(covariance))
        scale = np.outer(spread, spread)
        correlation: Array = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
        np.fill_diagonal(correlation, 1.0)
        return np.clip(correlation, -1.0, 1.0)

    @property
    def feature_covariance_(self) -> Array:
        """(d, d) learnt covariance of the features' coefficients, trace 1; computed when it is asked for."""
        check_is_fitted(self)
        return root_of_gram(self.coef_.T)


class SquaredTraceNorm(TaskRegressor, _SquaredTraceNorm):
    r"""Linear regression that learns how tasks are related, or, seen from the other side, which features go together.

    Two methods of the field are this one convex problem. MTFL (multi-task feature learning) learns a covariance of
    features, ``alpha_ridge=0``. MTRL (multi-task relationship learning) learns a covariance of tasks, with ``alpha``
    its strength of the relations and ``alpha_ridge`` that of the ridge. Tasks may be related positively, negatively or
    not at all: read ``task_correlation_``. No strength makes coefficients exactly 0, and directions vanish as with
    :class:`TraceNorm`: the solution is that of :class:`TraceNorm` with ``alpha' = alpha ||A||_*``. One task: ridge
    regression with ``alpha + alpha_ridge``.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha / 2 ||A||_*^2
                  +  alpha_ridge / 2 ||A||^2

    The proximal operator is exact: no epsilon is added to covariances, and no alternation is needed.

    Args:
        alpha: strength of the squared trace norm, at least 0; default 0.1.
        alpha_ridge: strength of a ridge beside it, at least 0; default 0. Both 0 mean least squares for each task.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        task_covariance_: (T, T) ``(A'A)^(1/2)`` divided by its trace.
        task_correlation_: (T, T) the same with a diagonal of 1.
        feature_covariance_: (d, d) ``(AA')^(1/2)`` divided by its trace; computed when it is asked for.
        rank_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Argyriou, Evgeniou & Pontil, Convex multi-task feature learning, Machine Learning 2008 (MTFL); Zhang & Yeung, A
        convex formulation for learning task relationships in multi-task learning, UAI 2010 (MTRL).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, a = rng.normal(size=(40, 5)), rng.normal(size=5)
        >>> Y = np.column_stack([X @ a, -X @ a, X @ rng.normal(size=5)]) + 0.1 * rng.normal(size=(40, 3))
        >>> model = SquaredTraceNorm(0.01).fit(X, Y)
        >>> bool(model.task_correlation_[0, 1] < -0.95)  # tasks 0 and 1 are opposites
        True
    """


class SquaredTraceNormClassifier(TaskClassifier, _SquaredTraceNorm):
    """Logistic regression that learns how tasks are related.

    The twin of :class:`SquaredTraceNorm` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength of the squared trace norm, at least 0; default 0.01.
        alpha_ridge: strength of a ridge beside it, at least 0, positive where ``alpha`` is 0; default 0.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        task_covariance_, task_correlation_, feature_covariance_: as in :class:`SquaredTraceNorm`.
        rank_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> SquaredTraceNormClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        alpha_ridge: float = 0.0,
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
            alpha_ridge=alpha_ridge,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
