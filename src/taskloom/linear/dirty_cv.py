"""Features selected for all tasks together and for single tasks, with the strength chosen by cross-validation."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.linear._path_cv import PathCV
from taskloom.linear._row_parameters import check_power, middle_ratio
from taskloom.linear._two_parts import parts_of
from taskloom.linear.base import check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.part_sum import PartSum
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.task_column import TaskRows

__all__ = ["DirtyModelCV"]


class DirtyModelCV(PathCV):
    """:class:`DirtyModel` with ``alpha_shared`` chosen by cross-validation, at a fixed ratio of the two strengths.

    The path begins at the smallest strengths of the given ratio that make all coefficients 0 on all rows. Every fold
    has rows of every task; each fold is predicted from the others by warm-started fits with a certificate each. The
    strength with the smallest mean error is used on all rows. To choose the ratio too, compare the smallest means of
    ``mse_path_`` for a few of them. A task with a single row cannot be predicted from others and does not count.

    Args:
        alphas: values of ``alpha_shared`` to try, positive; None (default): ``n_alphas`` of them, as below.
        n_alphas: number of strengths, in equal steps of their logarithms; default 100.
        eps: the last strength as a share of the first; None (default): 0.001, or 0.01 with more features than rows per
            task.
        cv: number of folds (default 5, by :class:`taskloom.task_column.TaskStratifiedKFold`), pairs of training and
            test rows, or a splitter of scikit-learn that needs no groups.
        average: ``"micro"`` (default): mean of the squared errors over samples; ``"macro"``: mean over tasks of their
            means.
        one_standard_error: take the largest strength whose error is within one standard error of the best; default
            False.
        n_jobs: folds at once, by joblib; None (default): one.
        ratio: ``alpha_shared / alpha_specific``, between 1 (nothing is specific) and ``T^(1/q*)`` (nothing is shared);
            None (default): in the middle, ``T^(1/(2 q*))``.
        q: as in :class:`DirtyModel`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        alpha_: the chosen ``alpha_shared``.
        alphas_: (A,) those that were tried, decreasing.
        mse_path_: (A, folds) mean squared errors of prediction.
        coef_shared_, coef_specific_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in
            :class:`DirtyModel`, on all rows with ``alpha_``.

    Raises:
        DataError: parameters out of range, or data that do not fit.

    Source:
        Jalali, Ravikumar, Sanghavi & Ruan, A dirty model for multi-task learning, NIPS 2010.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(60, 10)), np.zeros((10, 4))
        >>> A[3], A[8, 1] = [1.0, -1.0, 1.0, 1.0], 1.0  # shared by all tasks, and of one task
        >>> Y = X @ A + 0.5 * rng.normal(size=(60, 4))
        >>> model = DirtyModelCV(n_alphas=20, one_standard_error=True).fit(X, Y)
        >>> np.flatnonzero(model.coef_shared_.any(axis=0)), float(model.coef_[1, 8].round(1))
        (array([3]), 0.8)
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
        ratio: float | None = None,
        q: float = np.inf,
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
        self.ratio = ratio
        self.q = q

    def _penalty_at(self, alpha: float, n_tasks: int, n_features: int) -> PartSum:
        q = check_power("q", self.q)
        ratio = middle_ratio(n_tasks, q) if self.ratio is None else check_number("ratio", self.ratio, is_open=True)
        return PartSum((RowNorm(alpha, q), EntryNorm(alpha / ratio)))

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.coef_shared_, self.coef_specific_ = parts_of(solution)
