"""Gaussian processes of several tasks under the intrinsic coregionalisation model, exact.

    cov(y_s(x), y_t(x')) = B_st k(x, x') + [same sample] noise_t,     B = W W' + diag(kappa)

``k`` says how similar rows are, ``B`` how similar tasks are; each task has a noise of its own. All of them are found by
maximising the marginal likelihood with exact gradients.
"""

from __future__ import annotations

import reprlib
import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF, Kernel
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError
from taskloom.gp._dense import DensePosterior, dense_likelihood, dense_posterior
from taskloom.gp._grid import GridPosterior, grid_likelihood, grid_posterior
from taskloom.gp._hyperparameters import Hyperparameters, Packing, Slopes
from taskloom.gp._observations import Array, Grid, Points, as_grid, as_points
from taskloom.task_column import (
    TaskRows,
    check_deviation,
    check_flag,
    check_whole,
    fit_rows,
    labelled_r2,
    predict_rows,
    refuse_unused,
)

__all__ = ["ICMGaussianProcess"]

_MANY_POINTS = 5000  # 200 MB per matrix, several of them


class ICMGaussianProcess(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Gaussian-process regression of several tasks at once, exact, with a predictive standard deviation.

    For up to about 3,000 distinct points (row, task), or 3,000 distinct rows where all tasks share them: then two small
    eigendecompositions replace the large matrix, in O(n^3 + T^3). Repeated rows are put together and cost nothing.
    Labels are standardised task by task, so B and the noises are in units of the variance of each task.

        cov(y_s(x), y_t(x')) = B_st k(x, x') + [same sample] noise_t,     B = W W' + diag(kappa)

    Where all tasks share their rows and there is no noise, tasks do not help each other: the posterior mean is that of
    each task alone (autokrigeability). They help through noisy labels and through rows that only some tasks have.

    Args:
        rank: columns of W; 0 makes the tasks independent given the kernel.
        kernel: a kernel of ``sklearn.gaussian_process.kernels`` on the columns beside the task column; its
            hyperparameters are fitted inside its bounds. Default: ``RBF`` with one lengthscale that starts at the
            square root of the summed variances of the columns. One per column: ``RBF(np.ones(n_columns))``.
        task_factors: W to start from, (T, rank); default: every task has the first factor alike.
        task_variances: kappa to start from, a number or (T,); default 0.4.
        noise: noise variances to start from, a number or (T,), for standardised labels; default 0.1.
        shared_noise: one noise for all tasks; default False.
        normalize_y: standardise the labels of each task; default True.
        optimise: fit the hyperparameters; False keeps the ones given.
        n_restarts: further starts at random points, of which the best is kept; default 0.
        max_iter: most iterations of L-BFGS for each start.
        task_feature: position or name of the task column; None: all tasks share the rows, y is (n, T) and may have
            missing labels (NaN).
        unknown_task: at predict, ``"error"`` or ``"mean"``: the mean of the functions of all tasks.
        random_state: of the restarts.

    Attributes:
        tasks_, n_tasks_: labels of the tasks, (T,), and how many.
        kernel_: the kernel with fitted hyperparameters.
        task_factors_, task_variances_, noise_: W (T, rank), kappa (T,), noise variances (T,) of standardised labels.
        task_covariance_, task_correlation_: B and its correlations, (T, T).
        log_marginal_likelihood_: at the hyperparameters, of the standardised labels.
        theta_: logarithms and W as one vector, see :meth:`log_marginal_likelihood`.
        n_iter_: iterations of L-BFGS in the best start.

    Raises:
        DataError, TaskError: at fit, for data, shapes and ranges; the message says which.

    Cost:
        O(N^3) for each step with N distinct points; O(n^3 + T^3) where all tasks share n rows.

    Differs from the paper:
        noise per task also in the general case; W and kappa are free parameters instead of a Cholesky factor, found by
        gradients instead of expectation-maximisation. ``sample_weight`` counts labels: 2 is the label given twice.

    Source:
        E. Bonilla, K. M. Chai, C. Williams, Multi-task Gaussian Process Prediction, NIPS 2007; B. Rakitsch, C. Lippert,
        K. Borgwardt, O. Stegle, It is all in the noise, NIPS 2013 (eigendecompositions with correlated noise).

    Example:
        >>> import numpy as np
        >>> X = np.linspace(0, 3, 12)[:, None]
        >>> Y = np.hstack([np.sin(2 * X), np.sin(2 * X) + 1.0])
        >>> Y[4:, 1] = np.nan
        >>> model = ICMGaussianProcess().fit(X, Y)
        >>> mean, deviation = model.predict(X, return_std=True)
        >>> mean.shape, bool(model.task_correlation_[0, 1] > 0.9)
        ((12, 2), True)
    """

    def __init__(
        self,
        rank: int = 1,
        *,
        kernel: Any = None,
        task_factors: ArrayLike | None = None,
        task_variances: ArrayLike = 0.4,
        noise: ArrayLike = 0.1,
        shared_noise: bool = False,
        normalize_y: bool = True,
        optimise: bool = True,
        n_restarts: int = 0,
        max_iter: int = 500,
        task_feature: int | str | None = None,
        unknown_task: str = "error",
        random_state: Any = None,
    ) -> None:
        self.rank = rank
        self.kernel = kernel
        self.task_factors = task_factors
        self.task_variances = task_variances
        self.noise = noise
        self.shared_noise = shared_noise
        self.normalize_y = normalize_y
        self.optimise = optimise
        self.n_restarts = n_restarts
        self.max_iter = max_iter
        self.task_feature = task_feature
        self.unknown_task = unknown_task
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_feature is None
        return tags

    # -- fit --------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Find the hyperparameters and condition on the data.

        Args:
            X: (n, d), or (n, d + 1) with the task column.
            y: (n,), or (n, T) without a task column.
            sample_weight: (n,) or (n, T): how often a label counts.
        """
        self._check_flags()
        rows = fit_rows(self, X, y=y, sample_weight=sample_weight)
        self.tasks_, self.n_tasks_, self._output_ndim = rows.tasks, rows.n_tasks, rows.output_ndim
        self._offsets, self._scales = self._standardisation(rows)
        data = self._observations(rows)
        start = self._start(data)
        packing = Packing(start, self.shared_noise)
        best, vector, self.n_iter_ = start, packing.pack(start), 0
        if self.optimise:
            vector, self.n_iter_ = self._optimise(data, packing)
            best = packing.unpack(vector)
        self._packing, self.theta_ = packing, vector
        self._condition(data, best)
        return self

    def _check_flags(self) -> None:
        for name in ("shared_noise", "normalize_y", "optimise"):
            check_flag(name, getattr(self, name))
        if not self.optimise:
            refuse_unused(self, "n_restarts", beside="optimise=False", instead="leave that out")

    def _standardisation(self, rows: TaskRows) -> tuple[Array, Array]:
        """Mean and standard deviation of the labels of each task; tasks without a label get those of the others."""
        if not self.normalize_y:
            return np.zeros(rows.n_tasks), np.ones(rows.n_tasks)
        observed = rows.observed
        offsets, scales = np.zeros(rows.n_tasks), np.ones(rows.n_tasks)
        for task in np.flatnonzero(observed):
            y, s = rows.targets[task], rows.sample_weights[task]
            offsets[task] = np.average(y, weights=s)
            deviation = np.sqrt(np.average((y - offsets[task]) ** 2, weights=s))
            scales[task] = deviation if deviation > 1e-12 * np.abs(y).max(initial=0.0) else 1.0
        offsets[~observed], scales[~observed] = offsets[observed].mean(), scales[observed].mean()
        return offsets, scales

    def _observations(self, rows: TaskRows) -> Points | Grid:
        targets = tuple((y - m) / s for y, m, s in zip(rows.targets, self._offsets, self._scales))
        data: Points | Grid | None = None
        if rows.is_shared and rows.n_tasks > 1:
            data = as_grid(rows.designs[0], np.column_stack(targets), np.column_stack(rows.sample_weights))
        if data is None:
            data = as_points(rows.designs, targets, rows.sample_weights)
        if len(data.inputs) > _MANY_POINTS:
            warnings.warn(
                f"{len(data.inputs)} distinct points: an exact Gaussian process needs their square in memory "
                f"({8e-9 * len(data.inputs) ** 2:.1f} GB for each of several matrices) and their cube in time; the "
                "guide has a recipe for approximate processes",
                UserWarning,
                stacklevel=3,
            )
        return data

    def _start(self, data: Points | Grid) -> Hyperparameters:
        n_tasks = self.n_tasks_
        note = f"at most the number of tasks, {n_tasks}"
        if check_whole("rank", self.rank, least=0, note=note) > n_tasks:
            raise DataError(f"rank={self.rank!r}; expected a whole number from 0 to the number of tasks, {n_tasks}")
        check_whole("max_iter", self.max_iter)
        check_whole("n_restarts", self.n_restarts, least=0)
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        factors = _first_factors(n_tasks, int(self.rank))
        if self.task_factors is not None:
            factors = _as_numbers("task_factors", self.task_factors, f"({n_tasks}, {self.rank}), (tasks, rank)")
            if factors.shape != (n_tasks, self.rank) or not np.isfinite(factors).all():
                raise DataError(
                    f"task_factors has shape {factors.shape}; expected finite numbers of shape (tasks, rank), "
                    f"({n_tasks}, {self.rank})"
                )
        kernel = self.kernel if self.kernel is not None else _first_kernel(data.inputs)
        if not isinstance(kernel, Kernel):
            raise DataError(f"kernel={kernel!r}; expected a kernel of sklearn.gaussian_process.kernels, as RBF(1.0)")
        noise = _per_task("noise", self.noise, n_tasks=n_tasks, zero_is_allowed=False)
        if self.shared_noise and np.ptp(noise) > 0:
            raise DataError(f"noise={self.noise!r} differs by task, but shared_noise=True; leave one of them out")
        return Hyperparameters(
            kernel=kernel.clone_with_theta(kernel.theta),
            factors=factors,
            variances=_per_task("task_variances", self.task_variances, n_tasks=n_tasks, zero_is_allowed=True),
            noise=noise,
        )

    def _optimise(self, data: Points | Grid, packing: Packing) -> tuple[Array, int]:
        """Best vector over all starts, and its iterations."""
        generator = check_random_state(self.random_state)
        first, bounds = packing.pack(packing.start), packing.bounds
        others = [first + generator.normal(size=len(first)) for _ in range(self.n_restarts)]
        starts = [first, *(np.clip(other, bounds[:, 0], bounds[:, 1]) for other in others)]

        def objective(vector: Array) -> tuple[float, Array]:
            value, gradient = _evaluate(data, packing, vector)
            return -value, -gradient

        options = {"maxiter": self.max_iter, "maxfun": 4 * self.max_iter, "ftol": 1e-11, "gtol": 1e-6}
        runs = [
            minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for start in starts
        ]
        best = min(runs, key=lambda run: float(run.fun))
        if best.status == 1:
            slope = np.abs(best.jac).max()
            warnings.warn(
                f"the hyperparameters had not converged after max_iter={self.max_iter} iterations (largest slope of "
                f"the log marginal likelihood: {slope:.3g}); raise max_iter, or scale X",
                ConvergenceWarning,
                stacklevel=3,
            )
        return best.x, int(best.nit)

    def _condition(self, data: Points | Grid, best: Hyperparameters) -> None:
        found: tuple[DensePosterior | GridPosterior, float] | None
        found = grid_posterior(data, best) if isinstance(data, Grid) else dense_posterior(data, best)
        if found is None:
            raise DataError(
                f"the covariance of the labels is not positive definite in double precision (smallest noise "
                f"{best.noise.min():.3g}); give a larger noise, or set optimise=True"
            )
        self._posterior: DensePosterior | GridPosterior
        self._posterior, self.log_marginal_likelihood_ = found
        self.kernel_, self.noise_ = best.kernel, best.noise
        self.task_factors_, self.task_variances_ = best.factors, best.variances
        self.task_covariance_ = best.task_covariance
        deviations = np.sqrt(np.diag(self.task_covariance_))
        safe = np.where(deviations > 0, deviations, 1.0)
        self.task_correlation_ = self.task_covariance_ / np.multiply.outer(safe, safe)

    # -- use --------------------------------------------------------------------------------------------------------

    def log_marginal_likelihood(self, theta: ArrayLike | None = None, *, eval_gradient: bool = False) -> Any:
        """Log marginal likelihood of the training labels (standardised, unless ``normalize_y=False``).

        Args:
            theta: the vector [theta of the kernel, W by rows, log kappa, log noise], as ``theta_``; default: the
                fitted hyperparameters.
            eval_gradient: also return the derivative in theta.

        Returns:
            a number, or the number and an array shaped as theta.
        """
        check_is_fitted(self)
        if theta is None and not eval_gradient:
            return self.log_marginal_likelihood_
        vector = self.theta_ if theta is None else np.asarray(theta, dtype=np.float64)
        value, gradient = _evaluate(self._posterior.points, self._packing, vector)
        return (value, gradient) if eval_gradient else value

    def predict(self, X: Any, *, return_std: bool = False, include_noise: bool = True) -> Any:
        """Mean of the labels, and on request their standard deviation.

        Args:
            X: rows as in ``fit``.
            return_std: also return the standard deviation.
            include_noise: of a new label (default), or of the function without noise; matters to deviations only.

        Returns:
            (m,), or (m, T) after a y of that shape; with ``return_std`` two of them.
        """
        check_is_fitted(self)
        return_std = check_deviation(return_std, include_noise)
        rows = predict_rows(self, X, unknown_task=self.unknown_task)
        posterior = self._posterior
        cross = self.kernel_(rows.design, posterior.points.inputs)
        prior = self.kernel_.diag(rows.design) if return_std else np.zeros(0)
        if rows.positions is None:
            mean = self._offsets + self._scales * posterior.mean_grid(cross)
            if not return_std:
                return self._shaped(mean)
            variance = self._scales**2 * (posterior.variance_grid(cross, prior) + include_noise * self.noise_)
            return self._shaped(mean), self._shaped(np.sqrt(variance))
        assert isinstance(posterior, DensePosterior)
        choice = _choice(rows.positions, self.n_tasks_)
        mean = choice @ self._offsets + posterior.mean(cross, choice * self._scales)
        if not return_std:
            return mean
        variance = posterior.variance(cross, choice * self._scales, prior)
        return mean, np.sqrt(variance + include_noise * (choice @ (self._scales**2 * self.noise_)))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R^2 over all rows, or its mean over the tasks; missing labels are left out.

        Args:
            X: rows as in ``fit``.
            y: labels, as in ``fit``.
            sample_weight: (m,).
        """
        return labelled_r2(y, self.predict(X), sample_weight=sample_weight)

    def _shaped(self, table: Array) -> Array:
        return table if self._output_ndim == 2 else table[:, 0]


def _evaluate(data: Points | Grid, packing: Packing, vector: Array) -> tuple[float, Array]:
    """Log marginal likelihood and gradient; minus infinity where the covariance is not positive."""
    given = packing.unpack(vector)
    found: tuple[float, Slopes] | None
    found = grid_likelihood(data, given) if isinstance(data, Grid) else dense_likelihood(data, given)
    if found is None:
        return -np.inf, np.zeros_like(vector)
    value, slopes = found
    return value, packing.gradient(given, slopes)


def _choice(positions: NDArray[np.intp], n_tasks: int) -> Array:
    """Weights of the tasks for each row, (m, T): one task, or all alike where the task is unknown."""
    choice = np.zeros((len(positions), n_tasks))
    known = positions >= 0
    choice[np.flatnonzero(known), positions[known]] = 1.0
    choice[~known] = 1.0 / n_tasks
    return choice


def _first_factors(n_tasks: int, rank: int) -> Array:
    """All tasks alike in the first factor; smaller waves over the tasks in the others, to break the symmetry."""
    waves = np.cos(np.pi * np.multiply.outer(np.arange(n_tasks) + 0.5, np.arange(rank)) / n_tasks)
    factors: Array = waves * np.where(np.arange(rank) == 0, np.sqrt(0.5), 0.3)
    return factors


def _first_kernel(inputs: Array) -> Any:
    spread = float(np.sqrt(inputs.var(axis=0).sum()))
    start = spread if np.isfinite(spread) and spread > 0 else 1.0
    return RBF(start, length_scale_bounds=(1e-2 * start, 1e2 * start))


def _as_numbers(name: str, given: ArrayLike, shape: str) -> Array:
    try:
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name} is {reprlib.repr(given)}; expected numbers of shape {shape}") from None


def _per_task(name: str, given: ArrayLike, *, n_tasks: int, zero_is_allowed: bool) -> Array:
    values = _as_numbers(name, given, f"() or ({n_tasks},), one for each task")
    expected = "not negative" if zero_is_allowed else "positive"
    if values.shape not in ((), (n_tasks,)):
        raise DataError(f"{name} has shape {values.shape}; expected one number or {n_tasks}, one per task")
    low = values < 0 if zero_is_allowed else values <= 0
    if low.any() or not np.isfinite(values).all():
        raise DataError(f"{name}={given!r}; expected finite numbers that are {expected}")
    each: Array = np.broadcast_to(values, n_tasks).copy()
    return each
