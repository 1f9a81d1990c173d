"""Estimators whose penalty is a quadratic coupling of tasks: one solver for all."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.base import is_classifier

from taskloom.linear.base import TaskLinearModel
from taskloom.regularised.coupled_logistic import solve_coupled_logistic
from taskloom.regularised.coupled_ridge import is_definite_along, solve_coupled_ridge
from taskloom.regularised.data import Solution, TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["CoupledModel"]

LIFT = 1e-10


class CoupledModel(TaskLinearModel):
    """A linear estimator with the penalty ``tr(A Q A') / 2``; other penalties go to the general solvers."""

    def _solve(self, data: TaskData, penalty: Any, start: Solution | None) -> Solution:
        if not isinstance(penalty, TaskCoupling):
            return super()._solve(data, penalty, start)
        if penalty.is_singular and (is_classifier(self) or not is_definite_along(data, penalty)):
            warnings.warn(
                "the coupling of the tasks is singular and the data do not say what it leaves open; "
                f"{LIFT:g} times its largest eigenvalue was put in place of the eigenvalue 0",
                UserWarning,
                stacklevel=3,
            )
            penalty = penalty.lifted(LIFT)
        is_shared = isinstance(self.fit_intercept, str)
        if is_classifier(self):
            return solve_coupled_logistic(
                data, penalty, tol=self.tol, max_iterations=self.max_iter, shared_intercept=is_shared, start=start
            )
        return solve_coupled_ridge(
            data,
            penalty,
            tol=self.tol,
            max_iterations=self.max_iter,
            shared_intercept=is_shared,
            start=None if start is None else start.coefficients,
        )
