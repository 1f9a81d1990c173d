"""What the support vector machines for several tasks have in common."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, LinAlgWarning, solve
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from taskloom.errors import DataError
from taskloom.kernel._base_kernel import BaseKernel, scaled_gamma
from taskloom.kernel._stacked import Stacked, mixing_of, stack_rows
from taskloom.kernel._task_kernel import task_kernel_matrix
from taskloom.kernel.gram import multitask_gram
from taskloom.task_column import TaskRows, fit_rows, predict_rows

__all__ = ["Array", "MultiTaskMachine", "check_positive", "polished"]

Array = NDArray[np.float64]


def check_positive(**values: float) -> None:
    """Every value is a positive finite number, or an error that names it."""
    for name, value in values.items():
        if not (isinstance(value, int | float | np.number) and np.isfinite(value) and value > 0):
            raise DataError(f"{name}={value!r}; expected a positive number")


def polished(
    gram: Array, dual: Array, intercept: float, *, targets: Array, bounds: Array
) -> tuple[Array, float] | None:
    """The solution of libsvm made exact: the linear system of the coefficients that are not at a bound.

    A coefficient strictly between 0 and its bound means that the decision value there is known. libsvm stops when these
    equations hold to its tolerance; one solve makes them hold to rounding.

    Args:
        gram: (N, N).
        dual: signed coefficients, (N,).
        intercept: of the machine.
        targets: decision values where the coefficient is free, (N,).
        bounds: largest absolute value of each coefficient, (N,).

    Returns:
        coefficients and intercept, or None where the system has no solution inside the bounds.
    """
    size = np.abs(dual)
    free = np.flatnonzero((size > 1e-8 * bounds) & (size < (1 - 1e-8) * bounds))
    if not len(free):
        return None
    system = np.ones((len(free) + 1, len(free) + 1))
    system[:-1, :-1] = gram[np.ix_(free, free)]
    # equal rows make the system singular: a ridge at the level of rounding chooses among equal solutions
    system.flat[: -1 : len(system) + 1] += 1e-13 * np.trace(system[:-1, :-1]) / len(free)
    system[-1, -1] = 0.0
    found, offset = dual.copy(), intercept
    for _ in range(2):
        misses = np.append((targets - gram @ found - offset)[free], -found.sum())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LinAlgWarning)  # the caller looks at the gap of what comes out
                step = solve(system, misses, assume_a="sym", check_finite=False)
        except LinAlgError:
            return None
        found[free] += step[:-1]
        offset += float(step[-1])
    stays_inside = (np.sign(found[free]) == np.sign(dual[free])) & (np.abs(found[free]) <= bounds[free])
    return (found, offset) if stays_inside.all() else None


class MultiTaskMachine(BaseEstimator):  # type: ignore[misc]
    """A machine of libsvm on a Gram matrix over rows with tasks; subclasses say which one in :meth:`_train`."""

    C: float
    kernel: Any
    task_kernel: Any
    mu: float
    graph: Any
    gamma: Any
    degree: float
    coef0: float
    offset: float
    task_feature: Any
    unknown_task: str

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self.task_feature is None
        tags.input_tags.sparse = True
        return tags

    def _train(self, gram: Array, samples: Stacked) -> tuple[Array, float]:
        """Signed dual coefficients (N,) and the intercept, as libsvm finds them."""
        raise NotImplementedError

    def _known_decisions(self, samples: Stacked, dual: Array) -> Array:
        """Decision values where the coefficient is free, (N,)."""
        raise NotImplementedError

    def _values(self, gram: Array, samples: Stacked, *, dual: Array, intercept: float) -> tuple[float, float]:
        """Value of the problem and of its dual."""
        raise NotImplementedError

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> TaskRows:
        check_positive(C=self.C)
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        rows = fit_rows(self, X, y=y, sample_weight=sample_weight, accept_sparse=True)
        samples = stack_rows(rows)
        self.tasks_, self.n_tasks_, self._output_ndim = rows.tasks, rows.n_tasks, rows.output_ndim
        between = task_kernel_matrix(self.task_kernel, mu=self.mu, graph=self.graph, n_tasks=rows.n_tasks)
        assert between is not None
        self.task_covariance_ = between
        gamma = scaled_gamma(self.gamma, samples.inputs, samples.weights)
        self._kernel = BaseKernel(self.kernel, gamma, self.degree, self.coef0, self.offset)
        gram = multitask_gram(self._kernel(samples.inputs, samples.inputs), between, s=samples.tasks)
        dual = self._solve(gram, samples)
        support = np.flatnonzero(dual)
        self.support_, self.n_support_ = np.sort(np.unique(samples.rows[support])), len(support)
        self.dual_coef_, self._inputs, self._positions = dual[support], samples.inputs[support], samples.tasks[support]
        return rows

    def _solve(self, gram: Array, samples: Stacked) -> Array:
        """Train, make exact where that lowers the gap, and certify."""
        dual, intercept = self._train(gram, samples)
        value, below = self._values(gram, samples, dual=dual, intercept=intercept)
        exact = polished(
            gram,
            dual,
            intercept,
            targets=self._known_decisions(samples, dual),
            bounds=self.C * samples.weights,
        )
        if exact is not None:
            exact_value, exact_below = self._values(gram, samples, dual=exact[0], intercept=exact[1])
            if exact_value - exact_below < value - below:
                (dual, intercept), value, below = exact, exact_value, exact_below
        self.intercept_, self.objective_, self.dual_gap_ = intercept, value, value - below
        return dual

    def _decide(self, X: Any) -> Array:
        """Decision values, (m,) or (m, T)."""
        check_is_fitted(self)
        rows = predict_rows(self, X, unknown_task=self.unknown_task, accept_sparse=True)
        cross = self._kernel(rows.design, self._inputs)
        by_task = self.task_covariance_[:, self._positions] * self.dual_coef_  # (T, S)
        if rows.positions is None:
            table = cross @ by_task.T + self.intercept_
            return table if self._output_ndim == 2 else table[:, 0]
        mixed = mixing_of(rows.positions, self.n_tasks_) @ by_task
        values: Array = (cross * mixed).sum(axis=1) + self.intercept_
        return values
