r"""Logistic loss of several tasks under a quadratic coupling, by Newton's method.

    min over A, b of  sum_t sum_i w_ti log(1 + exp(-y_ti (x_ti . a_t + b_t))) + tr(A Q A') / 2

Each step is a coupled least squares problem with weights ``w p (1 - p)``, p the probability of the other class, and a
line search. The certificate is the dual at ``u = w y p``, after the larger class was scaled down so that the sums of u
that intercepts ask to be 0 are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import entr, expit

from taskloom.regularised.coupled.centred import Centred, Intercept
from taskloom.regularised.coupled.choice import solves_for_samples
from taskloom.regularised.coupled.row_products import RowProducts
from taskloom.regularised.coupled_ridge import solve_coupled_ridge
from taskloom.regularised.data import Array, Solution, TaskData
from taskloom.regularised.penalties.coupling import TaskCoupling

__all__ = ["solve_coupled_logistic"]

FLATTEST = 1e-6  # least 1 - p in the curvature p (1 - p), so that hopeless samples do not make a step infinite
SHORTEST = 2.0**-30


@dataclass(frozen=True)
class _Point:
    """Coefficients, intercepts and what follows from them."""

    A: Array
    b: Array
    margins: tuple[Array, ...]  # y (x . a + b)
    objective: float


@dataclass(frozen=True)
class _Problem:
    data: TaskData
    coupling: TaskCoupling
    intercept: Intercept

    def at(self, A: Array, b: Array) -> _Point:
        data = self.data
        margins = tuple(
            y * (np.asarray(design @ A[:, t]) + b[t])
            for t, (design, y) in enumerate(zip(data.designs, data.targets, strict=True))
        )
        risk = sum(float(w @ np.logaddexp(0, -m)) for w, m in zip(data.weights, margins, strict=True))
        return _Point(A, b, margins, risk + self.coupling.value(A))

    def start(self) -> _Point:
        """Coefficients 0 and the best intercepts."""
        data = self.data
        A, b = np.zeros((data.n_features, data.n_tasks)), np.zeros(data.n_tasks)
        if self.intercept != "none":
            above, below = (
                np.array([w @ (y == side) for w, y in zip(data.weights, data.targets, strict=True)]) for side in (1, -1)
            )
            if self.intercept == "shared":
                above, below = np.full(data.n_tasks, above.sum()), np.full(data.n_tasks, below.sum())
            has_labels = (above > 0) & (below > 0)
            b[has_labels] = np.log(above[has_labels] / below[has_labels])
        return self.at(A, b)

    def step_from(self, point: _Point) -> tuple[Array, Array]:
        """Where the quadratic model at a point has its minimum: coefficients and intercepts."""
        data = self.data
        targets, weights = [], []
        for y, w, margins in zip(data.targets, data.weights, point.margins, strict=True):
            wrong = expit(-margins)
            right = np.maximum(1 - wrong, FLATTEST)
            targets.append(y * (margins + 1 / right))
            weights.append(w * wrong * right)
        model = TaskData(data.designs, tuple(targets), tuple(weights), data.fit_intercept)
        is_by_samples = solves_for_samples(Centred(model, self.intercept), self.coupling)
        solution = solve_coupled_ridge(
            model,
            self.coupling,
            start=point.A,
            shared_intercept=self.intercept == "shared",
            row_products=self.row_products if is_by_samples else None,
        )
        return solution.coefficients, solution.intercepts

    @cached_property
    def row_products(self) -> RowProducts:
        """Made once for the weights of all steps."""
        return RowProducts.of(self.data, is_shifted=self.intercept == "task")

    def gap(self, point: _Point) -> float:
        """Objective minus the dual value."""
        shares = self._balanced(tuple(expit(-margins) for margins in point.margins))
        dual, columns = 0.0, []
        for design, y, w, p in zip(self.data.designs, self.data.targets, self.data.weights, shares, strict=True):
            dual += float(w @ (entr(p) + entr(1 - p)))
            columns.append(np.asarray(design.T @ (w * y * p)))
        return point.objective - dual + self.coupling.conjugate(np.column_stack(columns))

    def _balanced(self, shares: tuple[Array, ...]) -> tuple[Array, ...]:
        """Probabilities of the other class, with those of the heavier class scaled so that the two sides are equal."""
        if self.intercept == "none":
            return shares
        triples = list(zip(self.data.targets, self.data.weights, shares, strict=True))
        above, below = (np.array([w @ (p * (y == side)) for y, w, p in triples]) for side in (1, -1))
        if self.intercept == "shared":
            above, below = np.full(len(above), above.sum()), np.full(len(below), below.sum())
        least = np.minimum(above, below)
        for_above = np.divide(least, above, out=np.ones(len(above)), where=above > 0)
        for_below = np.divide(least, below, out=np.ones(len(below)), where=below > 0)
        return tuple(p * np.where(y > 0, for_above[t], for_below[t]) for t, (y, _, p) in enumerate(triples))


def solve_coupled_logistic(
    data: TaskData,
    coupling: TaskCoupling,
    *,
    tol: float = 1e-6,
    max_iterations: int = 100,
    shared_intercept: bool = False,
    start: Solution | None = None,
) -> Solution:
    """Solve by Newton steps, each of them a coupled least squares problem.

    Args:
        data: designs, targets -1 and 1, and weights.
        coupling: Q with the strength in it.
        tol: stop at a gap of this fraction of the risk at zero coefficients.
        max_iterations: Newton steps at most.
        shared_intercept: one intercept for all tasks instead of what the data say.
        start: a solution to begin with.

    Returns:
        one part, with its gap.

    Example:
        >>> X, y, w = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([-1.0, 1.0, -1.0, 1.0]), np.full(4, 0.25)
        >>> solution = solve_coupled_logistic(TaskData((X,), (y,), (w,)), TaskCoupling.of_matrix(np.eye(1)), tol=1e-12)
        >>> solution.coefficients.round(6), solution.converged
        (array([[0.190756]]), True)
    """
    intercept: Intercept = "shared" if shared_intercept else ("task" if data.fit_intercept else "none")
    problem = _Problem(data, coupling, intercept)
    point = problem.start()
    target = tol * point.objective
    if start is not None:
        point = problem.at(start.coefficients, start.intercepts)
    gap, n_iterations = problem.gap(point), 0
    while gap > target and n_iterations < max_iterations:
        n_iterations += 1
        further = _search(problem, point, problem.step_from(point))
        if further is None:
            break
        point = further
        gap = min(gap, problem.gap(point))
    return Solution((point.A,), point.b, point.objective, gap, max(1, n_iterations), gap <= target)


def _search(problem: _Problem, point: _Point, goal: tuple[Array, Array]) -> _Point | None:
    """The first lower point at 1, 1/2, 1/4, ... of the way to the goal; None where rounding leaves none."""
    part = 1.0
    while part >= SHORTEST:
        found = problem.at(point.A + part * (goal[0] - point.A), point.b + part * (goal[1] - point.b))
        if found.objective < point.objective:
            return found
        part /= 2
    return None
