r"""Linear regression of many tasks whose coefficients are draws from one normal distribution, found by the data.

    y_t ~ N(X_t a_t, v I),     a_t ~ N(m, Sigma),     Sigma ~ inverse-Wishart(nu_0, S_0)

Mean, covariance and noise maximise the evidence (times the density of Sigma), by expectation-maximisation.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError, TaskError
from taskloom.linear._task_posteriors import (
    Posteriors,
    TaskPrior,
    TaskSummaries,
    covariance_of_task,
    posteriors,
    summarise,
)
from taskloom.linear.base import TaskRegressor, check_number
from taskloom.task_column import (
    TaskRows,
    check_deviation,
    check_flag,
    check_whole,
    fit_rows,
    predict_rows,
    refuse_unused,
)

__all__ = ["HierarchicalBayes"]

Array = NDArray[np.float64]
_SMALLEST_NOISE = 1e-10  # of the variance of the labels


@dataclass(frozen=True)
class _Hyperprior:
    """``Sigma ~ inverse-Wishart(degrees, scale)``, ``m ~ N(centre, Sigma / tasks)``; flat on m where ``tasks`` is 0."""

    scale: Array
    degrees: float
    centre: Array
    tasks: float

    def maximised(self, found: Posteriors) -> tuple[Array, Array]:
        """Mean and covariance that maximise the expected complete likelihood under the posteriors."""
        n_tasks, size = found.means.shape
        mean = (found.means.sum(axis=0) + self.tasks * self.centre) / (n_tasks + self.tasks)
        around, off = found.means - mean, mean - self.centre
        squares = self.scale + found.spread + around.T @ around + self.tasks * np.outer(off, off)
        return mean, squares / (n_tasks + self.degrees + size + 1 + (self.tasks > 0))

    def log_density(self, prior: TaskPrior) -> float:
        """Of mean and covariance, up to a constant; minus infinity at a singular matrix."""
        sign, volume = np.linalg.slogdet(prior.covariance)
        if sign <= 0:
            return -np.inf
        off = prior.mean - self.centre
        trace = float(np.trace(np.linalg.solve(prior.covariance, self.scale + self.tasks * np.outer(off, off))))
        count = self.degrees + len(off) + 1 + (self.tasks > 0)
        return -0.5 * count * float(volume) - 0.5 * trace


class HierarchicalBayes(TaskRegressor, BaseEstimator):  # type: ignore[misc]
    r"""Linear regression that learns from many tasks what the coefficients of a task are like.

    The mean of the tasks, how far they differ and in which directions, and the noise are found by the data; a task with
    few samples is pulled to the mean, one with many keeps its own coefficients. Predictions have a standard deviation,
    and a new task has one too: that of the prior.

        y_t ~ N(X_t a_t, v I),   a_t ~ N(m, Sigma),   Sigma ~ inverse-Wishart(nu_0, S_0),   flat priors on m and v

    With a flat prior the mean is least squares over all tasks, without any penalty. So it needs more rows than it has
    coefficients, and tasks that share their rows do not make these more: with D near n or above, predictions can be far
    worse than those of ridge regression (``fit`` warns where D > n / 2). Then let ``prior_tasks=1`` hold the mean to 0,
    with a larger ``prior_scale``, since Sigma is near S_0 / (2 D) where tasks are few; or use
    :class:`MeanRegularizedCV`.

    Columns should be on one scale (:class:`taskloom.task_column.TaskStandardScaler`). With ``fit_intercept`` the
    intercept is one of the coefficients, with a prior that is learnt as well.

    Args:
        covariance: form of Sigma: ``"full"`` (default), ``"diagonal"`` or ``"spherical"``.
        start: a :class:`TaskPrior` to begin with. Default: pooled least squares, its residual variance, and S_0 for
            Sigma.
        optimise: learn the prior; False keeps the one to begin with, for tasks that come later. Default True.
        prior_degrees: nu_0; default D + 2, with D coefficients.
        prior_tasks: k_0, at least 0: how many tasks with the coefficients 0 (and the mean label for an intercept) the
            prior of m is worth: ``m ~ N(m_0, Sigma / k_0)``. Default 0: flat.
        prior_scale: S_0, a number (times the identity) or (D, D); default: the pooled residual variance over the mean
            squared length of a row.
        fit_intercept: default True.
        max_iter: most steps; default 500.
        tol: stop when a step raises the evidence (penalised, relative) by less; default 1e-6.
        task_feature: position or name of the task column; None: all tasks share the rows, y is (n, T) and may have
            missing labels (NaN).
        unknown_task: at predict, ``"error"``, or ``"mean"``: a draw from the prior.

    Attributes:
        tasks_, n_tasks_: labels of the tasks.
        coef_, intercept_: posterior means, (T, d) and (T,).
        prior_: the :class:`TaskPrior` found; the intercept is the last coefficient.
        noise_variance_: v.
        evidence_path_: log evidence plus log density of Sigma and m (up to a constant) before each step and at the
            end; never decreasing.
        log_evidence_path_: the log evidence alone.
        n_iter_: steps made.

    Raises:
        DataError, TaskError: at fit, for data, shapes and ranges.

    Cost:
        O(T D^3) per step, or O(T n^2 D) where no task has more than n < D samples; the samples are read once.

    Differs from the paper:
        an inverse-Wishart prior keeps Sigma positive with few tasks; the mean may have a prior; ``sample_weight``
        counts samples.

    Source:
        B. Bakker, T. Heskes, Task Clustering and Gating for Bayesian Multitask Learning, JMLR 4, 2003; K. Yu, V. Tresp,
        A. Schwaighofer, Learning Gaussian Processes from Multiple Tasks, ICML 2005.

    Example:
        >>> import numpy as np
        >>> generator = np.random.default_rng(0)
        >>> X = generator.normal(size=(40, 2))
        >>> A = np.array([1.0, -1.0]) + 0.1 * generator.normal(size=(20, 2))
        >>> Y = X @ A.T + 0.1 * generator.normal(size=(40, 20))
        >>> model = HierarchicalBayes(fit_intercept=False).fit(X, Y)
        >>> bool(np.abs(model.prior_.mean - [1.0, -1.0]).max() < 0.1)
        True
        >>> mean, deviation = model.predict(X, return_std=True)
        >>> deviation.shape
        (40, 20)
    """

    def __init__(
        self,
        covariance: Literal["full", "diagonal", "spherical"] = "full",
        *,
        start: TaskPrior | None = None,
        optimise: bool = True,
        prior_degrees: float | None = None,
        prior_tasks: float = 0.0,
        prior_scale: ArrayLike | None = None,
        fit_intercept: bool = True,
        max_iter: int = 500,
        tol: float = 1e-6,
        task_feature: int | str | None = None,
        unknown_task: str = "error",
    ) -> None:
        self.covariance = covariance
        self.start = start
        self.optimise = optimise
        self.prior_degrees = prior_degrees
        self.prior_tasks = prior_tasks
        self.prior_scale = prior_scale
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.task_feature = task_feature
        self.unknown_task = unknown_task

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_feature is None
        return tags

    # -- fit --------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the prior and the posteriors of the tasks.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column.
            sample_weight: (n,) or (n, T): how often a sample counts.
        """
        self._check_parameters()
        rows = fit_rows(self, X, y=y, sample_weight=sample_weight)
        self.tasks_, self.n_tasks_, self._output_ndim = rows.tasks, rows.n_tasks, rows.output_ndim
        designs = [self._with_ones(design) for design in rows.designs]
        summaries = summarise(designs, list(rows.targets), list(rows.sample_weights))
        mean, residual, variance = _pooled(summaries, rows)
        scale, degrees = self._hyperprior(summaries, residual)
        hyperprior = _Hyperprior(scale, degrees, self._centre(rows, len(mean)), float(self.prior_tasks))
        self._warn_of_flat_mean(rows, len(mean))
        prior = self._checked_start(scale.shape[0])
        if prior is None:
            prior = TaskPrior(mean, _restricted(scale, self.covariance), residual)
        self.prior_ = self._ascend(summaries, prior, hyperprior, floor=_SMALLEST_NOISE * variance)
        self.noise_variance_ = self.prior_.noise_variance
        n_features = rows.n_features
        self.coef_ = self._means[:, :n_features]
        self.intercept_ = self._means[:, n_features] if self.fit_intercept else np.zeros(rows.n_tasks)
        self._summaries = summaries
        return self

    def _check_parameters(self) -> None:
        if self.covariance not in ("full", "diagonal", "spherical"):
            raise DataError(f'covariance={self.covariance!r}; expected "full", "diagonal" or "spherical"')
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        check_flag("fit_intercept", self.fit_intercept)
        check_flag("optimise", self.optimise)
        check_whole("max_iter", self.max_iter)
        check_number("tol", self.tol, is_open=True)
        check_number("prior_tasks", self.prior_tasks, note="0: a flat prior of the mean")
        if self.start is not None and not self.optimise:
            refuse_unused(self, "covariance", beside="a start that is kept", instead="set optimise=True")

    def _with_ones(self, design: Any) -> Array:
        return np.column_stack([design, np.ones(len(design))]) if self.fit_intercept else np.asarray(design)

    def _hyperprior(self, summaries: TaskSummaries, residual: float) -> tuple[Array, float]:
        """S_0 (D, D) and nu_0."""
        size = summaries.designs.shape[2]
        degrees = size + 2.0
        if self.prior_degrees is not None:
            note = "D - 1, with D coefficients"
            degrees = check_number("prior_degrees", self.prior_degrees, least=size - 1.0, is_open=True, note=note)
        if self.prior_scale is None:
            length = float((summaries.designs**2).sum()) / summaries.total
            return (residual / length if length > 0 else 1.0) * np.eye(size), degrees
        try:
            given = np.asarray(self.prior_scale, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"prior_scale={self.prior_scale!r}; expected a positive number or a matrix") from None
        scale = given * np.eye(size) if given.ndim == 0 else given
        if scale.shape != (size, size) or not np.isfinite(scale).all() or np.linalg.eigvalsh(scale)[0] <= 0:
            raise DataError(
                f"prior_scale has shape {given.shape}; expected a positive number or a positive definite matrix "
                f"({size}, {size}): one row for each coefficient, the intercept last"
            )
        return scale, degrees

    def _centre(self, rows: TaskRows, size: int) -> Array:
        """m_0, (D,)."""
        centre = np.zeros(size)
        if self.fit_intercept:
            centre[-1] = np.average(np.concatenate(rows.targets), weights=np.concatenate(rows.sample_weights))
        return centre

    def _warn_of_flat_mean(self, rows: TaskRows, size: int) -> None:
        n_rows = len(np.unique(np.concatenate(rows.rows)))
        if self.optimise and not self.prior_tasks and 2 * size > n_rows:
            warnings.warn(
                f"the mean of the tasks has {size} coefficients and a flat prior, and X has {n_rows} rows with labels: "
                "it is fitted without a penalty, and predictions may be far off; set prior_tasks=1 (and a larger "
                "prior_scale), take fewer columns, or use MeanRegularizedCV",
                UserWarning,
                stacklevel=3,
            )

    def _checked_start(self, size: int) -> TaskPrior | None:
        if self.start is None:
            return None
        if not isinstance(self.start, TaskPrior):
            raise DataError(f"start={self.start!r}; expected a TaskPrior, as prior_ of a fitted estimator, or None")
        mean = np.asarray(self.start.mean, dtype=np.float64)
        covariance = np.asarray(self.start.covariance, dtype=np.float64)
        if mean.shape != (size,) or covariance.shape != (size, size):
            last = ", the intercept last" if self.fit_intercept else ""
            raise DataError(
                f"start has a mean of shape {mean.shape} and a covariance of shape {covariance.shape}; expected "
                f"({size},) and ({size}, {size}): one entry for each column beside the task column{last}"
            )
        if not self.start.noise_variance > 0 or np.linalg.eigvalsh(covariance)[0] < 0:
            raise DataError("start needs a positive noise_variance and a positive semi-definite covariance")
        return TaskPrior(mean, covariance, float(self.start.noise_variance))

    def _ascend(
        self, summaries: TaskSummaries, prior: TaskPrior, hyperprior: _Hyperprior, *, floor: float
    ) -> TaskPrior:
        """Steps of expectation-maximisation until the evidence stands still."""
        path, evidences = [], []
        self.n_iter_, found = 0, posteriors(summaries, prior)
        while True:
            self._means = found.means
            evidences.append(found.log_evidence)
            path.append(found.log_evidence + hyperprior.log_density(prior))
            stands_still = len(path) > 1 and abs(path[-1] - path[-2]) < self.tol * abs(path[-1])
            if stands_still or self.n_iter_ == (self.max_iter if self.optimise else 0):
                break
            mean, covariance = hyperprior.maximised(found)
            noise = max(found.squares / summaries.total, floor)
            prior = TaskPrior(mean, _restricted(covariance, self.covariance), noise)
            found = posteriors(summaries, prior)
            self.n_iter_ += 1
        self.evidence_path_, self.log_evidence_path_ = np.array(path), np.array(evidences)
        if self.optimise and not stands_still:
            warnings.warn(
                f"the evidence still rises after max_iter={self.max_iter} steps (by {path[-1] - path[-2]:.3g} in the "
                f"last one, to {path[-1]:.6g}; tol={self.tol:g}); raise max_iter",
                ConvergenceWarning,
                stacklevel=3,
            )
        return prior

    # -- use --------------------------------------------------------------------------------------------------------

    def posterior_covariance(self, task: Any = None) -> Array:
        """Covariance of the coefficients of a task given its data, (D, D), the intercept last.

        Args:
            task: its label; without a task column its position; None for a task without data: the prior.

        Raises:
            TaskError: no such task.
        """
        check_is_fitted(self)
        if task is None:
            return np.array(self.prior_.covariance)
        place = np.flatnonzero(self.tasks_ == task)
        if not len(place):
            raise TaskError(f"task {task!r} was not in the data of fit; the tasks are tasks_")
        return covariance_of_task(self._summaries, self.prior_, task=int(place[0]))

    def predict(self, X: Any, *, return_std: bool = False, include_noise: bool = True) -> Any:
        """Mean of the labels, and on request their standard deviation.

        Args:
            X: rows as in ``fit``.
            return_std: also return the standard deviation.
            include_noise: of a new label (default), or of ``x . a_t`` alone; matters to deviations only.

        Returns:
            (m,), or (m, T) after a y of that shape; with ``return_std`` two of them.
        """
        check_is_fitted(self)
        return_std = check_deviation(return_std, include_noise)
        rows = predict_rows(self, X, unknown_task=self.unknown_task)
        design = self._with_ones(rows.design)
        means = np.vstack([self._means, self.prior_.mean])  # position -1: the prior
        if rows.positions is None:
            values = design @ self._means.T
        else:
            values = np.einsum("md,md->m", design, means[rows.positions])
        if not return_std:
            return self._shaped(values)
        variance = np.zeros_like(values)
        if rows.positions is None:
            for task in range(self.n_tasks_):
                variance[:, task] = self._variance(design, task)
        else:
            for task in np.unique(rows.positions):
                chosen = rows.positions == task
                variance[chosen] = self._variance(design[chosen], int(task))
        deviation = np.sqrt(variance + include_noise * self.noise_variance_)
        return self._shaped(values), self._shaped(deviation)

    def _variance(self, design: Array, task: int) -> Array:
        covariance = self.prior_.covariance
        if task >= 0:
            covariance = covariance_of_task(self._summaries, self.prior_, task=task)
        variance: Array = np.maximum(np.einsum("md,de,me->m", design, covariance, design, optimize=True), 0.0)
        return variance

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if values.ndim == 2 and self._output_ndim == 1 else values


def _restricted(covariance: Array, form: str) -> Array:
    if form == "diagonal":
        return np.diag(np.diag(covariance))
    if form == "spherical":
        return float(np.diag(covariance).mean()) * np.eye(len(covariance))
    return 0.5 * (covariance + covariance.T)


def _pooled(summaries: TaskSummaries, rows: TaskRows) -> tuple[Array, float, float]:
    """Least squares over all tasks together: coefficients, residual variance, and the variance of the labels."""
    size = summaries.designs.shape[2]
    design, target = summaries.designs.reshape(-1, size), summaries.targets.ravel()
    mean: Array = np.asarray(np.linalg.lstsq(design, target, rcond=None)[0], dtype=np.float64)
    targets, weights = np.concatenate(rows.targets), np.concatenate(rows.sample_weights)
    variance = float(np.average((targets - np.average(targets, weights=weights)) ** 2, weights=weights))
    squares = float(((target - design @ mean) ** 2).sum() + summaries.left.sum())
    floor = variance if variance > 0 else 1.0
    return mean, max(squares / summaries.total, 1e-3 * floor), floor
