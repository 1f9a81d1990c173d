"""Features selected for all tasks together, with the strength chosen by cross-validation."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from taskloom.linear._path_cv import PathCV
from taskloom.linear._row_parameters import norm_of_rows
from taskloom.linear.base import check_number
from taskloom.regularised.data import Solution
from taskloom.regularised.penalties.elastic import with_ridge
from taskloom.task_column import TaskRows

__all__ = ["MultiTaskGroupLassoCV"]


class MultiTaskGroupLassoCV(PathCV):
    """:class:`MultiTaskGroupLasso` with ``alpha`` chosen by cross-validation along a path of strengths.

    The path begins at the smallest strength that makes all coefficients 0 on all rows. Every fold has rows of every
    task; each fold is predicted from the others by warm-started fits with a certificate each. The strength with the
    smallest mean error is used on all rows. For predictions more features are kept than matter: to find those that do,
    use ``one_standard_error``. A task with a single row cannot be predicted from others and does not count for the
    choice.

    Args:
        alphas: strengths to try, positive; None (default): ``n_alphas`` of them, as below.
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
        q, l2, feature_weights, groups: as in :class:`MultiTaskGroupLasso`.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        alpha_: the chosen strength.
        alphas_: (A,) those that were tried, decreasing.
        mse_path_: (A, folds) mean squared errors of prediction.
        selected_features_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in
            :class:`MultiTaskGroupLasso`, on all rows with ``alpha_``.

    Raises:
        DataError: parameters out of range, or data that do not fit.

    Source:
        one standard error: Breiman, Friedman, Olshen & Stone, Classification and regression trees, 1984, section 3.4.3.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(200, 20)), np.zeros((20, 4))
        >>> A[[3, 8]] = rng.normal(size=(2, 4))  # two features matter to all four tasks
        >>> Y = X @ A + rng.normal(size=(200, 4))
        >>> MultiTaskGroupLassoCV(n_alphas=30, one_standard_error=True).fit(X, Y).selected_features_
        array([3, 8])
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
        q: Any = 2.0,
        l2: float = 0.0,
        feature_weights: Any = None,
        groups: Any = None,
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
        self.q = q
        self.l2 = l2
        self.feature_weights = feature_weights
        self.groups = groups

    def _penalty_at(self, alpha: float, n_tasks: int, n_features: int) -> Any:
        norm = norm_of_rows(alpha, q=self.q, weights=self.feature_weights, groups=self.groups, n_features=n_features)
        return with_ridge(norm, check_number("l2", self.l2))

    def _store(self, rows: TaskRows, solution: Solution) -> None:
        super()._store(rows, solution)
        self.selected_features_ = np.flatnonzero(self.coef_.any(axis=0))
