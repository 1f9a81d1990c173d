"""Tasks whose coefficients lie near a few common directions, with the strength chosen by cross-validation."""

from __future__ import annotations

from typing import Any, Literal

from taskloom.linear._low_rank import rank_of
from taskloom.linear._path_cv import PathCV
from taskloom.linear.base import check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.elastic import with_ridge
from taskloom.regularised.penalties.trace import Trace
from taskloom.task_column import TaskRows

__all__ = ["TraceNormCV"]


class TraceNormCV(PathCV):
    """:class:`TraceNorm` with ``alpha`` chosen by cross-validation along a path of strengths.

    The path begins at the smallest strength that makes all coefficients 0 on all rows. Every fold has rows of every
    task; each fold is predicted from the others by warm-started fits with a certificate each. The strength with the
    smallest mean error is used on all rows. A task with a single row cannot be predicted from others and does not count
    for the choice.

    Args:
        alphas: strengths to try, positive; None (default): ``n_alphas`` of them, as below.
        n_alphas: number of strengths, in equal steps of their logarithms; default 100.
        eps: the last strength as a share of the first; None (default): 0.001, or 0.01 with more features than rows per
            task.
        cv: number of folds (default 5, by :class:`taskloom.task_column.TaskStratifiedKFold`), pairs of training and
            test rows, or a splitter of scikit-learn that needs no groups.
        average: ``"micro"`` (default): mean of the squared errors over samples; ``"macro"``: mean over tasks of their
            means.
        one_standard_error: take the largest strength whose error is within one standard error of the best: fewer
            directions for an error that is hardly worse; default False.
        n_jobs: folds at once, by joblib; None (default): one.
        l2: strength of a ridge beside the trace norm, as in :class:`TraceNorm`; default 0.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        alpha_: the chosen strength.
        alphas_: (A,) those that were tried, decreasing.
        mse_path_: (A, folds) mean squared errors of prediction.
        rank_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`, on all rows with
            ``alpha_``.

    Raises:
        DataError: parameters out of range, or data that do not fit.

    Source:
        one standard error: Breiman, Friedman, Olshen & Stone, Classification and regression trees, 1984, section 3.4.3.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, directions = rng.normal(size=(60, 6)), rng.normal(size=(6, 2))  # two causes of ten tasks
        >>> Y = X @ directions @ rng.normal(size=(2, 10)) + rng.normal(size=(60, 10))
        >>> model = TraceNormCV(n_alphas=20, one_standard_error=True).fit(X, Y)
        >>> model.rank_, model.mse_path_.shape  # good predictions keep more directions than there are
        (4, (20, 5))
    """

    def __init__(
        self,
        alphas: Any = None,
        *,
        n_alphas: int = 100,
        eps: float | None = None,
        cv: Any = 5,
        average: Literal["micro", "macro"] = "micro",
        one_standard_error: bool = False,
        n_jobs: int | None = None,
        l2: float = 0.0,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            alphas,
            n_alphas=n_alphas,
            eps=eps,
            cv=cv,
            average=average,
            one_standard_error=one_standard_error,
            n_jobs=n_jobs,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            unknown_task=unknown_task,
        )
        self.l2 = l2

    def _penalty_at(self, alpha: float, n_tasks: int, n_features: int) -> Any:
        return with_ridge(Trace(alpha), check_number("l2", self.l2))

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.rank_ = rank_of(self.coef_)
