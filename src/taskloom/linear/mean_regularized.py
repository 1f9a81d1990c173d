r"""Tasks that are held to their mean.

    penalty(A) = alpha / 2 (T ||abar||^2 + coupling sum_t ||a_t - abar||^2)

with the mean abar of the coefficients of all T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from taskloom.linear._coupled import CoupledModel
from taskloom.linear.base import TaskClassifier, TaskRegressor, check_number
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.task_column import check_flag

__all__ = ["DeviationForm", "MeanRegularized", "MeanRegularizedClassifier", "deviation_form"]


@dataclass(frozen=True)
class DeviationForm:
    """Parameters of :class:`MeanRegularized` that stand for ``a_t = common + deviation_t``; see :func:`deviation_form`.

    Args:
        alpha: of the estimator.
        coupling: of the estimator.
        common_share: the common vector is this multiple of the mean of the coefficients.

    Example:
        >>> DeviationForm(alpha=0.1, coupling=3.0, common_share=2 / 3).coupling
        3.0
    """

    alpha: float
    coupling: float
    common_share: float


def deviation_form(*, deviation: float, common: float, n_tasks: int) -> DeviationForm:
    r"""Translate the penalties of Evgeniou and Pontil into those of :class:`MeanRegularized`.

    They write ``a_t = w0 + v_t`` and penalise ``deviation / T sum_t ||v_t||^2 + common ||w0||^2``. The best w0 for
    given a_t is ``common_share * abar``, and what is left is our penalty with
    ``alpha = 2 deviation common / (T (deviation + common))`` and ``coupling = 1 + deviation / common``.

    Args:
        deviation: strength on the deviations of tasks, positive (lambda_1 of the paper).
        common: strength on the common vector, positive (lambda_2 of the paper).
        n_tasks: T.

    Returns:
        ``alpha``, ``coupling`` and ``common_share``.

    Raises:
        DataError: numbers that are not positive.

    Source:
        Evgeniou & Pontil, Regularized multi-task learning, KDD 2004.

    Example:
        >>> deviation_form(deviation=2.0, common=1.0, n_tasks=4)
        DeviationForm(alpha=0.333, coupling=3.0, common_share=0.667)
    """
    deviation = check_number("deviation", deviation, is_open=True)
    common = check_number("common", common, is_open=True)
    total = deviation + common
    return DeviationForm(2 * deviation * common / (n_tasks * total), 1 + deviation / common, deviation / total)


class _MeanRegularized(CoupledModel):
    def __init__(
        self,
        alpha: float = 0.1,
        *,
        coupling: float = 10.0,
        task_feature: int | str | None = None,
        fit_intercept: bool | Literal["shared"] = True,
        loss_weights: Any = "sample",
        tol: float = 1e-6,
        max_iter: int = 1000,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            task_feature=task_feature,
            fit_intercept=fit_intercept,  # type: ignore[arg-type]  # one value more than elsewhere
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.alpha = alpha
        self.coupling = coupling

    def _check_intercept(self) -> None:
        if not (isinstance(self.fit_intercept, str) and self.fit_intercept == "shared"):
            check_flag("fit_intercept", self.fit_intercept, note='or "shared": one for all tasks')

    def _penalty(self, n_tasks: int, n_features: int) -> TaskCoupling | None:
        alpha = check_number("alpha", self.alpha)
        coupling = check_number("coupling", self.coupling, is_open=True)
        return TaskCoupling.to_mean(n_tasks, alpha=alpha, coupling=coupling) if alpha > 0 else None


class MeanRegularized(TaskRegressor, _MeanRegularized):
    r"""Ridge regression of tasks that are held to their mean; ``coupling=1`` is independent ridge regression.

    Use it for many tasks with few rows each that are variations of one theme. The larger ``coupling``, the nearer the
    tasks are to one another; at infinity all tasks have the coefficients of the pooled rows, each with its own
    intercept. Below 1 tasks are pushed apart.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2
                  + alpha / 2 (T ||abar||^2 + coupling sum_t ||a_t - abar||^2)

    Args:
        alpha: strength of the whole penalty, at least 0; default 0.1. 0 means least squares for each task.
        coupling: strength on deviations from the mean relative to that on the mean, positive; default 10.
        task_feature: position or name of the task column of X; None (default): all tasks share the rows of X.
        fit_intercept: an intercept for every task (default), none, or ``"shared"``: one for all tasks. Intercepts are
            not penalised.
        loss_weights: how much tasks count: ``"sample"`` (default), ``"task"`` or T positive numbers.
        tol: a duality gap up to this fraction of the risk at zero coefficients counts as converged.
        max_iter: iterations at most, where the problem is too large to be solved directly.
        warm_start: begin with the solution of the last ``fit``; matters to iterations only.
        unknown_task: what to predict for a task that ``fit`` did not see: an error (default), or ``"mean"``: the
            prediction of the mean task, which is the centre of this model.

    Attributes:
        coef_: (T, d).
        intercept_: (T,).
        tasks_: (T,) task labels, sorted: the order of rows everywhere.
        dual_gap_: the objective is at most this much above the smallest possible one.
        objective_: the minimised value.
        n_iter_: 1 where the system was solved directly.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Evgeniou & Pontil, Regularized multi-task learning, KDD 2004; Evgeniou, Micchelli & Pontil, Learning multiple
        tasks with kernel methods, JMLR 2005. :func:`deviation_form` translates their parameters.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0, 1.0], [0, 2.0], [0, 3.0], [1, 1.0], [1, 3.0]])
        >>> y = np.array([1.0, 2.0, 3.0, 3.0, 9.0])
        >>> MeanRegularized(0.01, coupling=1.0, task_feature=0).fit(X, y).coef_.ravel()
        array([0.988, 2.963])
        >>> MeanRegularized(0.01, coupling=1000.0, task_feature=0).fit(X, y).coef_.ravel()
        array([1.901, 2.049])
    """


class MeanRegularizedClassifier(TaskClassifier, _MeanRegularized):
    """Logistic regression of tasks that are held to their mean; ``coupling=1`` is independent logistic regression.

    The twin of :class:`MeanRegularized` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        alpha: strength of the whole penalty, positive; default 0.1.
        coupling: strength on deviations from the mean relative to that on the mean, positive; default 10.
        task_feature, fit_intercept, loss_weights, tol, warm_start, unknown_task: as in :class:`MeanRegularized`.
        max_iter: Newton steps at most.
        single_class: what to do with a task whose labels are all of one class: ``"error"`` (default): refuse it if
            there are intercepts, since its own has no finite best value; ``"constant"``: leave it out of the loss, and
            predict that class.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        coef_, intercept_, tasks_, dual_gap_, objective_, n_iter_: as in :class:`MeanRegularized`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X = np.array([[0, 1.0], [0, 2.0], [0, 3.0], [1, 1.0], [1, 3.0]])
        >>> model = MeanRegularizedClassifier(task_feature=0).fit(X, ["no", "yes", "yes", "no", "yes"])
        >>> model.predict([[0, 0.0], [1, 4.0]])
        array(['no', 'yes'], dtype='<U3')
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        coupling: float = 10.0,
        task_feature: int | str | None = None,
        fit_intercept: bool | Literal["shared"] = True,
        loss_weights: Any = "sample",
        single_class: Literal["error", "constant"] = "error",
        tol: float = 1e-6,
        max_iter: int = 100,
        warm_start: bool = False,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            alpha,
            coupling=coupling,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
