r"""Coefficients that are few common directions plus a few single entries.

    penalty(A) = min over P + Q = A of  alpha_sparse sum_jt |p_jt| + alpha_trace ||Q||_*

or, in place of the second term, the bound ``||Q||_* <= tau``.
"""

from __future__ import annotations

from typing import Any, Literal

from taskloom.linear._low_rank import rank_of
from taskloom.linear._two_parts import TwoPartModel, parts_of
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.trace import Trace, TraceBall
from taskloom.task_column import TaskRows, refuse_unused

__all__ = ["SparseLowRank", "SparseLowRankClassifier"]


class _SparseLowRank(TwoPartModel):
    def __init__(
        self,
        alpha_sparse: float = 0.1,
        *,
        alpha_trace: float = 0.1,
        tau: float | None = None,
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
        self.alpha_sparse = alpha_sparse
        self.alpha_trace = alpha_trace
        self.tau = tau

    def _penalty(self, n_tasks: int, n_features: int) -> PartSum | EntryNorm | None:
        sparse = check_number("alpha_sparse", self.alpha_sparse)
        trace = check_number("alpha_trace", self.alpha_trace)
        if self.tau is not None:
            tau = check_number("tau", self.tau)
            refuse_unused(self, "alpha_trace", beside=f"tau={tau:g}", instead="leave out tau")
            if sparse == 0:
                return None
            return PartSum((EntryNorm(sparse), TraceBall(tau))) if tau > 0 else EntryNorm(sparse)
        return PartSum((EntryNorm(sparse), Trace(trace))) if sparse > 0 and trace > 0 else None

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.coef_sparse_, self.coef_low_rank_ = parts_of(solution)
        self.rank_ = rank_of(self.coef_low_rank_)


class SparseLowRank(TaskRegressor, _SparseLowRank):
    r"""Linear regression of tasks that share a few directions, beside a few coefficients of their own.

    Use it where :class:`TraceNorm` is nearly right but single features matter to single tasks. With
    ``alpha_sparse >= alpha_trace`` there are no entries, and it is :class:`TraceNorm`; with
    ``alpha_trace >= sqrt(d T) alpha_sparse`` there are no directions, and it is the lasso of each task. Between the
    two, the sum of both parts is determined, the parts themselves need not be.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_sparse ||P||_1
                  +  alpha_trace ||Q||_*  (or ||Q||_* <= tau),    A = P + Q

    Args:
        alpha_sparse: strength of the absolute values, at least 0; default 0.1.
        alpha_trace: strength of the trace norm, at least 0; default 0.1. One of the two being 0 means least squares
            for each task.
        tau: bound on the trace norm, at least 0, in place of ``alpha_trace``; None (default): no bound.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        coef_sparse_, coef_low_rank_: (T, d) the parts.
        rank_: rank of ``coef_low_rank_``.
        coef_: (T, d) their sum.
        intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Chen, Liu & Ye, Learning incoherent sparse and low-rank patterns from multiple tasks, KDD 2010 (the bound).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(60, 6)), np.outer(rng.normal(size=6), rng.normal(size=8))
        >>> A[2, 3] += 4.0  # one direction, and one entry beside it
        >>> model = SparseLowRank(0.1, alpha_trace=0.3).fit(X, X @ A + 0.05 * rng.normal(size=(60, 8)))
        >>> model.rank_, bool(np.abs(model.coef_sparse_).argmax() == 3 * 6 + 2)
        (1, True)
    """


class SparseLowRankClassifier(TaskClassifier, _SparseLowRank):
    """Logistic regression of tasks that share a few directions, beside a few coefficients of their own.

    The twin of :class:`SparseLowRank` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha_sparse: strength of the absolute values, positive; default 0.01.
        alpha_trace: strength of the trace norm, positive; default 0.01.
        tau: bound on the trace norm, at least 0, in place of ``alpha_trace``; None (default): no bound.
        task_feature, fit_intercept, loss_weights, tol, max_iter, warm_start, unknown_task: as in
            :class:`TraceNormClassifier`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        coef_sparse_, coef_low_rank_, rank_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in
            :class:`SparseLowRank`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> SparseLowRankClassifier().fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        alpha_sparse: float = 0.01,
        *,
        alpha_trace: float = 0.01,
        tau: float | None = None,
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
            alpha_sparse,
            alpha_trace=alpha_trace,
            tau=tau,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
