r"""Linear models of tasks whose important features are near each other, on a line, a grid or a surface (MTW).

    penalty = sparsity sum_jt |a_jt| + transport sum_t W(a_t, common)

with W the optimal transport, unbalanced and smoothed by entropy, between the coefficients of a task and common ones,
the positive and the negative parts by themselves; :mod:`taskloom.regularised.transport` has it whole.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.linear._logistic_transport import solve_logistic_transport
from taskloom.linear.base import TaskClassifier, TaskLinearModel, TaskRegressor, check_number
from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.logistic_risk import LogisticRisk
from taskloom.regularised.risk import SquaredRisk
from taskloom.regularised.transport import TransportConjugate, TransportSolution, solve_transport
from taskloom.task_column import TaskRows

__all__ = ["MultiTaskWasserstein", "MultiTaskWassersteinClassifier"]

Array = NDArray[np.float64]


class _MultiTaskWasserstein(TaskLinearModel):
    def __init__(
        self,
        alpha_sparse: float = 0.1,
        *,
        alpha_transport: float = 0.1,
        cost: Any = None,
        epsilon: float = 0.05,
        gamma: float = 1.0,
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
        self.alpha_sparse = alpha_sparse
        self.alpha_transport = alpha_transport
        self.cost = cost
        self.epsilon = epsilon
        self.gamma = gamma

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        conjugate = TransportConjugate(
            _line(rows.n_features) if self.cost is None else _check_cost(self.cost, rows.n_features),
            check_number("alpha_sparse", self.alpha_sparse),
            check_number("alpha_transport", self.alpha_transport, is_open=True),
            check_number("epsilon", self.epsilon, is_open=True),
            check_number("gamma", self.gamma, is_open=True),
        )
        found = self._solve_transport(data, conjugate)
        self.common_masses_ = found.common
        return found.solution

    def _solve_transport(self, data: TaskData, conjugate: TransportConjugate) -> TransportSolution:
        """Minimise the risk of the twin plus the penalty."""
        raise NotImplementedError


def _line(n_features: int) -> Array:
    """Squared distances of places on a line, with mean 1."""
    places = np.arange(n_features, dtype=np.float64)
    cost: Array = np.subtract.outer(places, places) ** 2
    return cost / (cost.mean() or 1.0)


def _check_cost(cost: Any, n_features: int) -> Array:
    try:
        numbers = np.asarray(cost, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"cost={cost!r}; expected an array of numbers, {n_features} x {n_features}") from None
    if numbers.shape != (n_features, n_features):
        raise DataError(f"cost has shape {numbers.shape}; expected ({n_features}, {n_features}): a cost for each pair")
    if not (np.isfinite(numbers) & (numbers >= 0)).all() or np.diagonal(numbers).any():
        raise DataError(
            "cost has entries that are negative, infinite or NaN, or a diagonal other than 0; expected finite numbers "
            "of at least 0, and 0 from a feature to itself"
        )
    return numbers


class MultiTaskWasserstein(TaskRegressor, _MultiTaskWasserstein):
    r"""Linear regression of tasks whose important features are near each other, though not the same (MTW).

    Use it where features have places, as sensors, pixels or frequencies do, and where a feature that matters to one
    task says that those near it matter to others. The coefficients of each task are masses that are moved to common
    ones; a move costs what ``cost`` says, and mass that is made or lost costs ``gamma``. Where the same features matter
    to all tasks, :class:`MultiTaskGroupLasso` is quicker and has exact zeros, which this has not: entropy leaves small
    coefficients everywhere. Targets should be on one scale in all tasks, since masses are compared.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha_sparse sum_jt |a_jt|
                  +  alpha_transport sum_t W(a_t^+, m^+) + W(a_t^-, m^-)    over A, b and the common masses m
        W(p, m) = min_P  <P, cost> + epsilon sum (P log P - P) + gamma KL(P 1 | p) + gamma KL(P' 1 | m)

    less the value at A = 0, where the penalty is smallest. ``alpha_sparse`` counts what cancels between the two parts
    too. Solved by quasi-Newton steps on the dual, which is smooth and has one number per sample.

    Args:
        alpha_sparse: strength of the absolute values, at least 0; default 0.1.
        alpha_transport: strength of the transport, positive; default 0.1. Small ones leave a lasso of each task.
        cost: (d, d) cost of moving mass between features, not negative, 0 on the diagonal. None (default): the columns
            are places on a line, and the cost is their squared distance, divided by its mean.
        epsilon: strength of the entropy, positive, in units of the cost; default 0.05. Coefficients are smeared over
            features that are nearer than it.
        gamma: cost of mass that is made or lost, positive, in units of the cost; default 1. Mass hardly moves to where
            it costs more than twice that.
        task_feature, fit_intercept, loss_weights, unknown_task: as in :class:`TraceNorm`.
        tol: the solver stops at a duality gap of this fraction of the risk at zero coefficients; default 1e-6.
        max_iter: steps at most; default 10,000. They become many where epsilon is below a hundredth of gamma.

    Attributes:
        common_masses_: (2, d) the common masses of the positive and of the negative parts.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, a cost of the wrong shape, or data that do not fit; says what to do.

    Cost:
        a step is O(T d^2 + N d), and O(T d^2) numbers where coefficients differ by more than e^600.

    Differs from the paper:
        the penalty is the same up to a constant and the names of the strengths (mu / T and lambda / T there); it is
        minimised through its conjugate, with a certificate, where the paper takes turns of coordinates and transports.

    Source:
        Janati, Cuturi & Gramfort, Wasserstein regularization for sparse multi-task regression, AISTATS 2019.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(40, 30)), np.zeros((3, 30))
        >>> A[0, 9] = A[1, 10] = A[2, 11] = 2.0  # neighbours matter to the tasks
        >>> model = MultiTaskWasserstein(0.1, alpha_transport=1.0).fit(X, X @ A.T + 0.1 * rng.normal(size=(40, 3)))
        >>> np.abs(model.coef_).argmax(axis=1), model.common_masses_[0].argmax()
        (array([ 9, 10, 11]), np.int64(10))
    """

    def _solve_transport(self, data: TaskData, conjugate: TransportConjugate) -> TransportSolution:
        return solve_transport(SquaredRisk(data), conjugate, tol=self.tol, max_iterations=self.max_iter)


class MultiTaskWassersteinClassifier(TaskClassifier, _MultiTaskWasserstein):
    """Logistic regression of tasks whose important features are near each other, though not the same.

    The twin of :class:`MultiTaskWasserstein` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.
    Log odds are on one scale in all tasks, as masses should be. Solved by Newton steps, each of which is a problem of
    :class:`MultiTaskWasserstein`.

    Args:
        alpha_sparse: as in :class:`MultiTaskWasserstein`; default 0.01.
        alpha_transport: as in :class:`MultiTaskWasserstein`; default 0.01.
        cost, epsilon, gamma, task_feature, fit_intercept, loss_weights, tol, unknown_task: as in
            :class:`MultiTaskWasserstein`.
        single_class: as in :class:`MeanRegularizedClassifier`.
        max_iter: Newton steps at most; default 1000.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        common_masses_, coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MultiTaskWasserstein`;
            ``n_iter_`` counts Newton steps.

    Raises:
        DataError: parameters out of range, a cost of the wrong shape, or data that do not fit.
        TaskError: a task with a single class.

    Cost:
        some ten Newton steps, each as expensive as a fit of :class:`MultiTaskWasserstein`.

    Differs from the paper:
        it has least squares only; the penalty is the same.

    Source:
        Janati, Cuturi & Gramfort, Wasserstein regularization for sparse multi-task regression, AISTATS 2019 (penalty).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(80, 30)), np.zeros((3, 30))
        >>> A[0, 9] = A[1, 10] = A[2, 11] = 2.0  # neighbours matter to the tasks
        >>> Y = X @ A.T + rng.logistic(size=(80, 3)) > 0
        >>> model = MultiTaskWassersteinClassifier(0.02, alpha_transport=0.2).fit(X, Y)
        >>> np.abs(model.coef_).argmax(axis=1), model.common_masses_[0].argmax()
        (array([ 9, 10, 11]), np.int64(10))
    """

    def __init__(
        self,
        alpha_sparse: float = 0.01,
        *,
        alpha_transport: float = 0.01,
        cost: Any = None,
        epsilon: float = 0.05,
        gamma: float = 1.0,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        single_class: Literal["error", "constant"] = "error",
        tol: float = 1e-6,
        max_iter: int = 1000,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            alpha_sparse,
            alpha_transport=alpha_transport,
            cost=cost,
            epsilon=epsilon,
            gamma=gamma,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            unknown_task=unknown_task,
        )
        self.single_class = single_class

    def _solve_transport(self, data: TaskData, conjugate: TransportConjugate) -> TransportSolution:
        return solve_logistic_transport(LogisticRisk(data), conjugate, tol=self.tol, max_iterations=self.max_iter)
