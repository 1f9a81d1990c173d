r"""Tasks that are sparse combinations of a few latent tasks: groups of tasks that overlap (GO-MTL).

    A = L S,    penalty = alpha_sparse ||S||_1 + alpha_basis / 2 ||L||_F^2

with L (d, k) the latent tasks and S (k, T) what each task takes of them.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from taskloom.errors import DataError
from taskloom.linear.base import TaskClassifier, TaskLinearModel, TaskRegressor, check_number
from taskloom.regularised.coupled_logistic import solve_coupled_logistic
from taskloom.regularised.coupled_ridge import solve_coupled_ridge
from taskloom.regularised.data import Array, Solution, TaskData
from taskloom.regularised.latent_basis import LatentBasis, first_bases, solve_latent_basis
from taskloom.regularised.penalties.coupling import TaskCoupling
from taskloom.task_column import TaskRows

__all__ = ["GOMTL", "GOMTLClassifier"]


class _GOMTL(TaskLinearModel):
    def __init__(
        self,
        n_latent: int | None = None,
        *,
        alpha_sparse: float = 0.01,
        alpha_basis: float = 0.01,
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
        self.n_latent = n_latent
        self.alpha_sparse = alpha_sparse
        self.alpha_basis = alpha_basis

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        sparse = check_number("alpha_sparse", self.alpha_sparse, is_open=True)
        ridge = check_number("alpha_basis", self.alpha_basis, is_open=True)
        starts = first_bases(self._alone(data, ridge), _check_n_latent(self.n_latent, rows.n_tasks))
        risk = self._risk(data)
        found = solve_latent_basis(
            risk, starts, sparsity=sparse, ridge=ridge, tol=self.tol, max_iterations=int(self.max_iter)
        )
        self._keep(found)
        A = found.coefficients
        return Solution((A,), risk.intercepts(A), found.objective, found.gap, len(found.objectives) - 1, True)

    def _alone(self, data: TaskData, ridge: float) -> Array:
        """Coefficients of each task by itself, (d, T): where the turns begin."""
        apart = TaskCoupling.to_mean(data.n_tasks, alpha=ridge, coupling=1.0)
        if is_classifier(self):
            return solve_coupled_logistic(data, apart, tol=min(self.tol, 1e-6)).coefficients
        return solve_coupled_ridge(data, apart).coefficients

    def _keep(self, found: LatentBasis) -> None:
        self.basis_ = np.ascontiguousarray(found.basis.T)
        self.codes_ = np.ascontiguousarray(found.codes.T)
        self.objective_path_ = np.array(found.objectives)
        if not found.converged:
            last, this = found.objectives[-2:]
            warnings.warn(
                f"{type(self).__name__} stopped after {len(found.objectives) - 1} turns; the last one lowered the "
                f"objective by {last - this:.3g}, from {last:.6g}. Increase max_iter, or accept this by raising tol",
                ConvergenceWarning,
                stacklevel=4,
            )


def _check_n_latent(n_latent: Any, n_tasks: int) -> int:
    if n_latent is None:
        return min(2, n_tasks)
    is_whole = isinstance(n_latent, int | np.integer) and not isinstance(n_latent, bool)
    if is_whole and n_tasks == 1 and n_latent >= 1:
        return 1  # a single task needs no other
    if not is_whole or not 1 <= n_latent <= n_tasks:
        raise DataError(f"n_latent={n_latent!r}; expected a whole number from 1 to the number of tasks, {n_tasks}")
    return int(n_latent)


class GOMTL(TaskRegressor, _GOMTL):
    r"""Linear regression of tasks that are sparse combinations of a few latent tasks (GO-MTL).

    Use it where tasks come in groups that overlap: tasks share as far as they use the same latent tasks, and tasks that
    use none in common do not touch each other. The problem is not convex. It is solved by turns from three beginnings
    that follow from ridge regressions of each task, so the same data give the same result; there is no certificate that
    it is the best one.

        minimise  sum_t c_t sum_i s_ti (y_ti - x_ti . L s_t - b_t)^2 / 2  +  alpha_sparse ||S||_1
                  +  alpha_basis / 2 ||L||_F^2

    Args:
        n_latent: number k of latent tasks, from 1 to the number of tasks (a single task has one whatever is given);
            None (default): 2.
        alpha_sparse: strength of the absolute values of the combinations, positive; default 0.01.
        alpha_basis: strength of the squares of the latent tasks, positive; default 0.01. Only the product of the square
            of ``alpha_sparse`` with ``alpha_basis`` matters to the coefficients: a latent task may be longer, and what
            tasks take of it smaller.
        task_feature, fit_intercept, loss_weights, unknown_task: as in :class:`TraceNorm`.
        tol: stop when a turn lowers the objective by at most this fraction of the risk at zero coefficients.
        max_iter: turns at most; default 1000.

    Attributes:
        basis_: (k, d) the latent tasks.
        codes_: (T, k) what each task takes of them, with exact zeros; ``coef_ = codes_ @ basis_``.
        objective_path_: the objective at the beginning and after every turn; it never rises.
        dual_gap_: how far the codes can be from the best ones for this basis.
        coef_, intercept_, tasks_, objective_, n_iter_: as in :class:`TraceNorm`; ``n_iter_`` counts turns.

    Raises:
        DataError: parameters out of range, or data that do not fit; says what to do.

    Differs from the paper:
        the scale of each latent task is set to the best one after every turn. Beside the singular vectors that the
        paper begins with, two further beginnings are tried for a few turns (singular vectors turned to few large codes,
        and some of the tasks themselves): from singular vectors alone, turns often end far above.

    Source:
        Kumar & Daumé, Learning task grouping and overlap in multi-task learning, ICML 2012.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X, basis = rng.normal(size=(60, 8)), rng.normal(size=(2, 8))
        >>> codes = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, -2.0]])  # two groups, one in both
        >>> model = GOMTL(2, alpha_sparse=0.1).fit(X, X @ (codes @ basis).T + 0.1 * rng.normal(size=(60, 5)))
        >>> (model.codes_ != 0).astype(int)[:, np.argsort(-np.abs(model.codes_[0]))]
        array([[1, 0],
               [1, 0],
               [1, 1],
               [0, 1],
               [0, 1]])
    """


class GOMTLClassifier(TaskClassifier, _GOMTL):
    """Logistic regression of tasks that are sparse combinations of a few latent tasks.

    The twin of :class:`GOMTL` for two classes: the same penalty with the loss ``log(1 + exp(-y eta))``.

    Args:
        n_latent, alpha_sparse, alpha_basis: as in :class:`GOMTL`; default strengths 0.01.
        task_feature, fit_intercept, loss_weights, tol, max_iter, unknown_task: as in :class:`GOMTL`.
        single_class: as in :class:`MeanRegularizedClassifier`.

    Attributes:
        classes_: the two labels; ``decision_function`` is positive for the second.
        basis_, codes_, objective_path_, dual_gap_, coef_, intercept_, tasks_, objective_, n_iter_: as in
            :class:`GOMTL`.

    Raises:
        DataError: parameters out of range, or data that do not fit.
        TaskError: a task with a single class.

    Example:
        >>> import numpy as np
        >>> X, Y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0, 0], [0, 1], [1, 1], [1, 1]])
        >>> GOMTLClassifier(1).fit(X, Y).predict([[1.0]])
        array([[0, 1]])
    """

    def __init__(
        self,
        n_latent: int | None = None,
        *,
        alpha_sparse: float = 0.01,
        alpha_basis: float = 0.01,
        task_feature: int | str | None = None,
        fit_intercept: bool = True,
        loss_weights: Any = "sample",
        single_class: Literal["error", "constant"] = "error",
        tol: float = 1e-6,
        max_iter: int = 1000,
        unknown_task: Literal["error", "mean"] = "error",
    ) -> None:
        super().__init__(
            n_latent,
            alpha_sparse=alpha_sparse,
            alpha_basis=alpha_basis,
            task_feature=task_feature,
            fit_intercept=fit_intercept,
            loss_weights=loss_weights,
            tol=tol,
            max_iter=max_iter,
            unknown_task=unknown_task,
        )
        self.single_class = single_class
