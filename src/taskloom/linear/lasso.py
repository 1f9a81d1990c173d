r"""Features selected for each task by itself.

penalty(A) = alpha sum_jt |a_jt|
"""

from __future__ import annotations

from typing import Any, Literal

from taskloom.linear.base import TaskClassifier, TaskLinearModel, TaskRegressor, check_number
from taskloom.regularised.penalties.entry import EntryNorm

__all__ = ["MultiTaskLasso1", "MultiTaskLasso1Classifier"]


class _MultiTaskLasso1(TaskLinearModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
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

    def _penalty(self, n_tasks: int, n_features: int) -> EntryNorm | None:
        alpha = check_number("alpha", self.alpha)
        return EntryNorm(alpha) if alpha > 0 else None


class MultiTaskLasso1(TaskRegressor, _MultiTaskLasso1):
    r"""Lasso of each task with one common strength: the baseline of methods that select features together.

    Nothing is learnt from one task for another but the strength: compare it with :class:`MultiTaskGroupLasso`, which it
    beats where tasks share few features. For task t it is scikit-learn's ``Lasso`` with the strength
    ``alpha / (c_t n_t)``.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha sum_jt |a_jt|

    Args:
        alpha: strength, at least 0; default 0.1. 0 means least squares for each task.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Tibshirani, Regression shrinkage and selection via the lasso, JRSS B 1996.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(50, 20)), np.zeros((20, 2))
        >>> A[3, 0] = A[8, 1] = 1.0  # each task has a feature of its own
        >>> model = MultiTaskLasso1(0.2).fit(X, X @ A + 0.1 * rng.normal(size=(50, 2)))
        >>> [np.flatnonzero(task).tolist() for task in model.coef_]
        [[3], [8]]
    """


class MultiTaskLasso1Classifier(TaskClassifier, _MultiTaskLasso1):
    """Logistic regression of each task with absolute values as penalty and one common strength.

    The twin of :class:`MultiTaskLasso1` for two classes. With one task it is scikit-learn's ``LogisticRegression`` with
    an l1 penalty and ``C = 1 / (n alpha)``, but for the intercept, which is not penalised here.

    Args:
        alpha: strength, positive; default 0.01.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MultiTaskLasso1`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> MultiTaskLasso1Classifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
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
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
