"""Tasks that are held to their mean, with the strengths chosen by leave-one-out errors in closed form."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.linear._coupled import CoupledModel
from taskloom.linear.base import TaskRegressor, check_number
from taskloom.regularised.coupled.centred import Centred
from taskloom.regularised.coupled_errors import generalised_errors, leave_one_out
from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.task_column import TaskRows, check_flag

__all__ = ["MeanRegularizedCV"]

Array = NDArray[np.float64]
N_ALPHAS = 25
WIDEST, NARROWEST = 1.0, -5.0  # powers of ten times the largest eigenvalue of the mean Gram matrix
COUPLINGS = (1.0, 3.0, 10.0, 30.0, 100.0)


class MeanRegularizedCV(TaskRegressor, CoupledModel):
    """:class:`MeanRegularized` with ``alpha`` and ``coupling`` chosen by leave-one-out errors, without refitting.

    The error at a sample of the fit without it follows from one fit and the leverages, so that every pair of strengths
    costs one solution. The loss weights are those of all samples throughout; a sample of weight 3 stands for three
    samples, one of which is left out. Where y has a column per task, a whole row is left out, with all the labels it
    has: they would tell about the one to be predicted, as those of a new row cannot. The largest coupling of the grid
    is close to one common vector, 1 is independent ridge: which is chosen says how alike the tasks are.

    Args:
        alphas: values of ``alpha`` to try, positive; None (default): 25 values from 10 to 1e-5 times the largest
            eigenvalue of the mean Gram matrix.
        couplings: values of ``coupling`` to try, positive; default 1, 3, 10, 30, 100.
        criterion: ``"loo"`` (default), leave-one-out; ``"gcv"``, generalised cross-validation, which has the mean
            leverage for that of each sample (the mean leverages of tasks in each other, where they share rows).
        average: ``"micro"`` (default): mean over samples; ``"macro"``: mean over tasks of their means.
        one_standard_error: instead of the best pair, take its coupling with the largest ``alpha`` whose error is within
            one standard error of the best.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`MeanRegularized`;
            ``fit_intercept`` is True or False.

    Attributes:
        alpha_, coupling_: the chosen strengths.
        alphas_: those that were tried, decreasing.
        mse_path_: (couplings, alphas) mean squared errors of prediction.
        mse_path_error_: their standard errors.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MeanRegularized`, for the chosen ones.

    Raises:
        DataError: parameters out of range, or data that do not fit.

    Source:
        leave-one-out in closed form: Allen, The relationship between variable selection and data augmentation,
        Technometrics 1974; generalised cross-validation: Golub, Heath & Wahba, Technometrics 1979.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = np.column_stack([np.arange(60) % 6, rng.normal(size=(60, 3))])
        >>> y = X[:, 1:] @ [1.0, -1.0, 2.0] + 0.5 * rng.normal(size=60)  # one truth for all six tasks
        >>> MeanRegularizedCV(task_feature=0).fit(X, y).coupling_
        100.0
    """

    def __init__(
        self,
        alphas: Any = None,
        *,
        couplings: Any = COUPLINGS,
        criterion: Literal["loo", "gcv"] = "loo",
        average: Literal["micro", "macro"] = "micro",
        one_standard_error: bool = False,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 1000,
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
        self.couplings = couplings
        self.criterion = criterion
        self.average = average
        self.one_standard_error = one_standard_error

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        if self.criterion not in ("loo", "gcv"):
            raise DataError(f'criterion={self.criterion!r}; expected "loo" or "gcv"')
        if self.average not in ("micro", "macro"):
            raise DataError(f'average={self.average!r}; expected "micro" or "macro"')
        check_flag("one_standard_error", self.one_standard_error)
        centred = Centred.of(data)
        self.alphas_ = _alphas(self.alphas, centred)
        couplings = np.array([check_number("couplings", one, is_open=True) for one in self.couplings])
        different = couplings if rows.n_tasks > 1 else couplings[:1]  # one task has no deviations
        found = np.array([[self._error(rows, centred, alpha=a, coupling=g) for a in self.alphas_] for g in different])
        found = np.broadcast_to(found, (len(couplings), *found.shape[1:]))
        self.mse_path_, self.mse_path_error_ = found[:, :, 0].copy(), found[:, :, 1].copy()
        row, column = np.unravel_index(int(np.argmin(self.mse_path_)), self.mse_path_.shape)
        if self.one_standard_error:
            most = self.mse_path_[row, column] + self.mse_path_error_[row, column]
            column = np.intp(np.argmax(self.mse_path_[row] <= most))  # alphas decrease: the first is the largest
        self.alpha_, self.coupling_ = float(self.alphas_[column]), float(couplings[row])
        chosen = TaskCoupling.to_mean(rows.n_tasks, alpha=self.alpha_, coupling=self.coupling_)
        return self._solve(data, chosen, None)

    def _error(self, rows: TaskRows, centred: Centred, *, alpha: float, coupling: float) -> tuple[float, float]:
        """Mean squared error of prediction, and its standard error."""
        penalty = TaskCoupling.to_mean(rows.n_tasks, alpha=alpha, coupling=coupling)
        copies = tuple(np.maximum(weight, 1.0) for weight in rows.sample_weights)
        predict = leave_one_out if self.criterion == "loo" else generalised_errors
        errors = predict(centred, penalty, places=rows.rows, copies=copies)
        squares, weights = [], []
        for own, weight in zip(errors, rows.sample_weights, strict=True):
            known = np.isfinite(own)  # the only sample of a task says nothing about its intercept
            if known.any():
                squares.append(own[known] ** 2)
                weights.append(weight[known])
        if not squares:
            raise DataError(
                "no task has more than one sample, so none can be predicted by others; choose alpha yourself"
            )
        if self.average == "macro" and len(squares) > 1:  # the mean of one task has the error of its samples
            means = np.array([np.average(one, weights=w) for one, w in zip(squares, weights, strict=True)])
            return float(means.mean()), float(means.std() / np.sqrt(len(means)))
        pooled, shares = np.concatenate(squares), np.concatenate(weights)
        mean = float(np.average(pooled, weights=shares))
        return mean, float(np.sqrt(shares**2 @ (pooled - mean) ** 2) / shares.sum())


def _alphas(alphas: Any, rows: Centred) -> Array:
    """The values to try, decreasing."""
    if alphas is None:
        largest = float(np.linalg.eigvalsh(rows.mean_gram())[-1])
        return (largest if largest > 0 else 1.0) * np.logspace(WIDEST, NARROWEST, N_ALPHAS)
    given = np.array([check_number("alphas", one, is_open=True) for one in np.ravel(alphas)])
    if not len(given):
        raise DataError("alphas is empty; expected at least one positive number, or None")
    return np.sort(given)[::-1]
