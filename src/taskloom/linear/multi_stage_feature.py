r"""Features selected for each task, with features that many tasks use freed of the penalty.

    penalty(A) = alpha sum_j min(||a^j||_1, theta)

with the rows a^j of A (d, T): one feature of all tasks. The penalty is not convex.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskloom.linear.base import TaskLinearModel, TaskRegressor, check_number
from taskloom.regularised.data import Design, Solution, TaskData
from taskloom.regularised.penalties.entry import EntryNorm
from taskloom.regularised.penalties.row_norm import RowNorm
from taskloom.regularised.solve import solve
from taskloom.task_column import TaskRows, check_whole

__all__ = ["MultiStageFeature"]

Array = NDArray[np.float64]


class MultiStageFeature(TaskRegressor, TaskLinearModel):
    r"""Linear regression with a capped penalty on each feature, solved as a sequence of lassos (MSMTFL).

    Use it where the shrinkage of :class:`MultiTaskLasso1` hurts: the first stage is that lasso; a feature whose
    coefficients sum up to at least ``theta`` in absolute value is then free of the penalty, and the lasso is solved
    again, until the free features stay the same. Large coefficients are not shrunk in the end. The objective falls from
    stage to stage, but what is found is one of several local minima: ``dual_gap_`` certifies the lasso of the last
    stage, not the capped objective.

    There is no classifier of this kind: features without a penalty can separate the classes of a task, and the logistic
    loss of that stage has no minimiser then.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . a_t - b_t)^2 / 2  +  alpha sum_j min(||a^j||_1, theta)

    Args:
        alpha: strength, positive; default 0.1.
        theta: a feature with ``||a^j||_1`` of at least this is not penalised; positive; default 0.5.
        n_stages: most lassos, at least 1; default 10. The rows usually stay the same after five.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`TraceNorm`.

    Attributes:
        stage_objectives_: the capped objective after each stage; ``objective_`` is the last.
        n_stages_: stages made.
        free_features_: positions of the features without a penalty in the last stage.
        dual_gap_: of the lasso of the last stage.
        coef_, intercept_, tasks_, n_iter_: as in :class:`TraceNorm`.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Source:
        Gong, Ye & Zhang, Multi-stage multi-task feature learning, JMLR 2013.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, A = rng.normal(size=(60, 20)), np.zeros((20, 3))
        >>> A[4] = [2.0, -1.0, 1.0]
        >>> model = MultiStageFeature(0.1, theta=1.0).fit(X, X @ A + 0.1 * rng.normal(size=(60, 3)))
        >>> model.free_features_, model.coef_[:, 4]
        (array([4]), array([ 2.02, -1.01,  1.01]))
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        theta: float = 0.5,
        n_stages: int = 10,
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
        self.alpha = alpha
        self.theta = theta
        self.n_stages = n_stages

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        alpha = check_number("alpha", self.alpha, is_open=True)
        theta = check_number("theta", self.theta, is_open=True)
        most = check_whole("n_stages", self.n_stages)
        risk = self._risk(data)
        solution = solve(risk, EntryNorm(alpha), tol=self.tol, max_iterations=self.max_iter)
        is_free, objectives, iterations = np.zeros(rows.n_features, dtype=bool), [], solution.n_iterations
        while True:
            sizes = np.abs(solution.coefficients).sum(axis=1)
            penalised = alpha * float(sizes[~is_free].sum())
            objectives.append(solution.objective - penalised + alpha * float(np.minimum(sizes, theta).sum()))
            following = sizes >= theta
            if len(objectives) == most or np.array_equal(following, is_free):
                break
            is_free = following
            _warn_of_too_few_rows(data, is_free)
            penalty = RowNorm(alpha, 1.0, np.where(is_free, 0.0, 1.0))
            solution = solve(risk, penalty, tol=self.tol, max_iterations=self.max_iter, start=solution)
            iterations += solution.n_iterations
        self.stage_objectives_, self.n_stages_ = np.array(objectives), len(objectives)
        self.free_features_ = np.flatnonzero(is_free)
        return Solution(
            solution.parts, solution.intercepts, objectives[-1], solution.gap, iterations, solution.converged
        )


def _warn_of_too_few_rows(data: TaskData, is_free: NDArray[np.bool_]) -> None:
    short = [
        task for task, X in enumerate(data.designs) if _is_short(X, data.weights[task], is_free, data.fit_intercept)
    ]
    if short:
        warnings.warn(
            f"{int(is_free.sum())} features are free of the penalty, too many for the rows of the tasks at positions "
            f"{short[:10]}: several solutions are equally good there, and the one nearest to the last stage was taken. "
            "A larger theta or alpha frees fewer features",
            UserWarning,
            stacklevel=5,
        )


def _is_short(X: Design, weights: Array, is_free: NDArray[np.bool_], fit_intercept: bool) -> bool:
    """Whether the free columns of a task are linearly dependent."""
    taken = X[:, np.flatnonzero(is_free)]
    free = np.asarray(taken if isinstance(taken, np.ndarray) else taken.toarray())[weights > 0]
    if len(free) == 0:
        return False
    if fit_intercept:
        free = free - free.mean(axis=0)
    return bool(np.linalg.matrix_rank(free) < free.shape[1])
