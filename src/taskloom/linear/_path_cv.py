r"""Choosing a strength by cross-validation along paths: what the ``CV`` estimators have in common.

The strengths go down from the smallest one that makes all coefficients 0 on all rows. In every fold the path is solved
on the other folds, each solution starting from the one before; the rows of the fold are then predicted by all of them.
With many more rows than features the Gram matrices of the other folds are those of all rows minus those of the fold.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.sparse import csc_array, issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv

from taskloom.errors import DataError
from taskloom.linear._fold_sums import FoldSums
from taskloom.linear.base import TaskLinearModel, TaskRegressor, check_number
from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.moments import MomentRisk
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.solve import largest_alpha, path, solve
from taskloom.task_column import TaskRows, TaskStratifiedKFold, check_flag, check_whole, loss_factors, refuse_unused

__all__ = ["PathCV"]

Array = NDArray[np.float64]
Masks = tuple[NDArray[np.bool_], ...]

SHORT, LONG = 1e-2, 1e-3  # ends of the path as shares of its beginning, with more features than rows per task or not


class PathCV(TaskRegressor, TaskLinearModel):
    """Base of estimators that choose ``alpha``. A subclass says what the penalty is for each.

    Args:
        alphas: strengths to try; None: ``n_alphas`` of them.
        n_alphas: number of strengths, in equal steps of their logarithms.
        eps: the last strength as a share of the first; None: 0.001, with more features than rows per task 0.01.
        cv: number of folds, pairs of train and test rows, or a splitter of scikit-learn.
        average: ``"micro"``, mean over samples, or ``"macro"``, mean over tasks of their means.
        one_standard_error: the largest strength within one standard error of the best, in place of the best.
        n_jobs: folds at once, by joblib.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`TaskLinearModel`.
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
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 10_000,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            unknown_task=unknown_task,
        )
        self.alphas = alphas
        self.n_alphas = n_alphas
        self.eps = eps
        self.cv = cv
        self.average = average
        self.one_standard_error = one_standard_error
        self.n_jobs = n_jobs

    def _penalty_at(self, alpha: float, n_tasks: int, n_features: int) -> Any:
        """The penalty with a strength, positive; a multiple of that with strength 1 but for ridges."""
        raise NotImplementedError

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        if self.average not in ("micro", "macro"):
            raise DataError(f'average={self.average!r}; expected "micro" or "macro"')
        check_flag("one_standard_error", self.one_standard_error)
        self.alphas_ = self._path(rows, data)
        sums = FoldSums.of(rows, fit_intercept=bool(self.fit_intercept))
        folds = list(self._folds(rows))
        if self.one_standard_error and len(folds) < 2:
            raise DataError("one_standard_error=True, but cv gives one fold, of which there is none; give two or more")
        found = Parallel(n_jobs=self.n_jobs)(delayed(self._errors)(rows, is_training, sums) for is_training in folds)
        self.mse_path_ = np.column_stack([errors for errors, _ in found])
        self._report(sum(number for _, number in found))
        self.alpha_ = self._choose()
        penalty = self._penalty_at(self.alpha_, rows.n_tasks, rows.n_features)
        return solve(SquaredRisk(data), penalty, tol=self.tol, max_iterations=int(self.max_iter))

    def _path(self, rows: TaskRows, data: TaskData) -> Array:
        """The strengths, decreasing."""
        if self.alphas is not None:
            refuse_unused(self, "n_alphas", "eps", beside="alphas", instead="leave out alphas")
            given = np.array([check_number("alphas", one, is_open=True) for one in np.ravel(self.alphas).tolist()])
            if not len(given):
                raise DataError("alphas is empty; expected at least one positive number, or None")
            return np.sort(given)[::-1]
        number = check_whole("n_alphas", self.n_alphas)
        n_rows = sum(len(target) for target in rows.targets) / max(int(rows.observed.sum()), 1)
        share = (SHORT if rows.n_features > n_rows else LONG) if self.eps is None else self.eps
        if not check_number("eps", share, is_open=True) < 1:
            raise DataError(f"eps={share!r}; expected a number between 0 and 1")
        first = largest_alpha(SquaredRisk(data), self._penalty_at(1.0, rows.n_tasks, rows.n_features))
        steps: Array = np.logspace(0, np.log10(share), number)
        return steps * (first if first > 0 else 1.0)

    def _folds(self, rows: TaskRows) -> Iterator[Masks]:
        """Which samples of each task are for training, fold by fold."""
        numbers = np.concatenate(rows.rows)
        n_rows = int(numbers.max()) + 1
        labels = np.zeros(n_rows, dtype=np.intp)
        for task, own in enumerate(rows.rows):
            labels[own] = task
        has_column = self.task_feature is not None
        cv = self.cv
        if isinstance(cv, int | np.integer):
            check_whole("cv", cv, least=2, note="or a splitter")
            if n_rows < cv:
                raise DataError(f"cv={cv} but n_samples={n_rows}; expected at least one sample per fold")
            cv = TaskStratifiedKFold(int(cv), task_feature=0 if has_column else None)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="tasks of one row")  # they are left out of the errors
            splits = list(check_cv(cv).split(labels[:, None] if has_column else np.zeros((n_rows, 1))))
        for train, _ in splits:
            yield tuple(np.isin(own, train) for own in rows.rows)

    def _errors(self, rows: TaskRows, is_training: Masks, sums: FoldSums | None) -> tuple[Array, int]:
        """Mean squared errors of the held-out samples, (alphas,), and the number of fits that stopped early."""
        training, test = _taking(rows, is_training), _taking(rows, tuple(~mask for mask in is_training))
        factors = loss_factors(training, self.loss_weights)
        if sums is None:
            weights = tuple(factor * one for factor, one in zip(factors, training.sample_weights, strict=True))
            data = TaskData(training.designs, training.targets, weights, bool(self.fit_intercept))
            risk: SquaredRisk | MomentRisk = SquaredRisk(data)
        else:
            risk = sums.without(test, factors)
        penalties = [self._penalty_at(alpha, rows.n_tasks, rows.n_features) for alpha in self.alphas_]
        solutions = path(risk, penalties, tol=self.tol, max_iterations=int(self.max_iter))
        if sums is not None:
            solutions = [sums.shifted_back(solution) for solution in solutions]
        squares, totals = self._squares(test, solutions, is_known=training.observed)
        if not totals.any():
            raise DataError("a fold of cv has no sample to predict; use fewer folds")
        if self.average == "macro":
            errors = (squares[:, totals > 0] / totals[totals > 0]).mean(axis=1)
        else:
            errors = squares.sum(axis=1) / totals.sum()
        return errors, sum(not solution.converged for solution in solutions)

    @staticmethod
    def _squares(test: TaskRows, solutions: list[Solution], *, is_known: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Weighted squared errors by strength and task, and weights by task; 0 for tasks without training samples."""
        squares, totals = np.zeros((len(solutions), test.n_tasks)), np.zeros(test.n_tasks)
        coefficients = [solution.coefficients for solution in solutions]
        for task in np.flatnonzero(is_known & test.observed):
            columns = np.column_stack([A[:, task] for A in coefficients])
            intercepts = np.array([solution.intercepts[task] for solution in solutions])
            errors = test.targets[task][:, None] - test.designs[task] @ columns - intercepts
            weights = test.sample_weights[task]
            squares[:, task], totals[task] = weights @ errors**2, weights.sum()
        return squares, totals

    def _report(self, n_early: int) -> None:
        if n_early:
            warnings.warn(
                f"{n_early} of the {self.mse_path_.size} fits of the paths stopped above tol={self.tol:g}; increase "
                "max_iter or scale the features",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _choose(self) -> float:
        means = self.mse_path_.mean(axis=1)
        best = int(np.argmin(means))
        n_folds = self.mse_path_.shape[1]
        if self.one_standard_error:
            most = means[best] + self.mse_path_[best].std(ddof=1) / np.sqrt(n_folds)
            best = int(np.argmax(means <= most))  # strengths decrease: the first is the largest
        return float(self.alphas_[best])


def _taking(rows: TaskRows, masks: Masks) -> TaskRows:
    """Some samples of every task; one design for all where that was so."""
    if rows.is_shared:
        designs = (_select(rows.designs[0], masks[0]),) * rows.n_tasks
    else:
        designs = tuple(_select(design, mask) for design, mask in zip(rows.designs, masks, strict=True))

    def of(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(one[mask] for one, mask in zip(values, masks, strict=True))

    return replace(
        rows,
        designs=designs,
        targets=of(rows.targets),
        sample_weights=of(rows.sample_weights),
        rows=of(rows.rows),
    )


def _select(design: Any, mask: NDArray[np.bool_]) -> Any:
    return csc_array(design.tocsr()[np.flatnonzero(mask)]) if issparse(design) else design[mask]
