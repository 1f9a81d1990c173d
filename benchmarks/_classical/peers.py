"""Other libraries, where they can be imported, and ours."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numba import njit

from _classical.contest import GAP, Way
from _classical.problems import Array, Ragged, Shared

__all__ = ["ragged_ways", "shared_ways", "versions"]

_PACKAGES = ("taskloom", "scikit-learn", "celer", "skglm", "mutar", "numpy", "scipy", "numba")
_HALF = 0.5 * GAP  # gaps that are compared with ||Y||^2, not with half of it
_WITHOUT_END = 1_000_000
_PASSES = 2_000  # on one working set of skglm, which needs far fewer where it converges at all


def versions() -> dict[str, str | None]:
    """What was found."""
    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


# -- one design for all tasks -----------------------------------------------------------------------------------------


def shared_ways(problem: Shared, alpha: float) -> dict[str, Way]:
    """Everybody who can solve a problem with one design."""
    ways = {"taskloom": _our_solver(problem, alpha), "estimator": _our_estimator(problem, alpha)}
    known = versions()
    ways["scikit-learn"] = _scikit_learn(problem, alpha)
    if known["celer"]:
        ways["celer"] = _celer(problem, alpha)
    if known["skglm"]:
        ways["skglm"] = _skglm(problem, alpha)
    return ways


def _our_solver(problem: Shared, alpha: float) -> Way:
    from taskloom.regularised import RowNorm, SquaredRisk, TaskData, solve

    n, n_tasks = problem.Y.shape
    weights, targets = np.full(n, 1 / n), tuple(problem.Y.T)

    def run(tolerance: float) -> Array:
        data = TaskData((problem.X,) * n_tasks, targets, (weights,) * n_tasks, fit_intercept=False)
        return solve(SquaredRisk(data), RowNorm(alpha), tol=tolerance).coefficients

    return Way(run, GAP, is_ours=True)


def _our_estimator(problem: Shared, alpha: float) -> Way:
    from taskloom.linear import MultiTaskGroupLasso

    def run(tolerance: float) -> Array:
        model = MultiTaskGroupLasso(alpha, fit_intercept=False, tol=tolerance)
        return model.fit(problem.X, problem.Y).coef_.T

    return Way(run, GAP, is_ours=True)


def _scikit_learn(problem: Shared, alpha: float) -> Way:
    from sklearn.linear_model import MultiTaskLasso

    def run(tolerance: float) -> Array:
        model = MultiTaskLasso(alpha, fit_intercept=False, copy_X=False, max_iter=_WITHOUT_END, tol=tolerance)
        return model.fit(problem.X, problem.Y).coef_.T

    return Way(run, _HALF)


def _celer(problem: Shared, alpha: float) -> Way:
    from celer.homotopy import mtl_path

    def run(tolerance: float) -> Array:
        return mtl_path(problem.X, problem.Y, alphas=np.array([alpha]), tol=tolerance)[1][:, :, 0].T

    return Way(run, _HALF)


def _skglm(problem: Shared, alpha: float) -> Way:
    from skglm.datafits import QuadraticMultiTask
    from skglm.penalties import L2_1
    from skglm.solvers import MultiTaskBCD
    from skglm.utils.jit_compilation import compiled_clone

    datafit, penalty = compiled_clone(QuadraticMultiTask()), compiled_clone(L2_1(alpha))

    def run(tolerance: float) -> Array:
        solver = MultiTaskBCD(tol=tolerance, max_epochs=_PASSES, fit_intercept=False)
        return solver.solve(problem.X, problem.Y, datafit, penalty)[0]

    return Way(run, 0.1 * alpha)


# -- a design for each task -------------------------------------------------------------------------------------------


def ragged_ways(problem: Ragged, alpha: float) -> dict[str, Way]:
    """Everybody who can solve a problem with ragged designs: others by a block-diagonal matrix or by loops."""
    ways = {"taskloom": _our_ragged_solver(problem, alpha)}
    known = versions()
    if known["celer"]:
        ways["celer, blocks"] = _celer_blocks(problem, alpha)
    if known["skglm"]:
        ways["skglm, blocks"] = _skglm_blocks(problem, alpha)
    if known["mutar"]:
        ways["mutar"] = _mutar(problem, alpha)
    ways["loop over all rows"] = _loop(problem, alpha)
    return ways


def _our_ragged_solver(problem: Ragged, alpha: float) -> Way:
    from taskloom.regularised import RowNorm, SquaredRisk, TaskData, solve

    weights = tuple(np.full(len(y), 1 / problem.divisor) for y in problem.targets)

    def run(tolerance: float) -> Array:
        data = TaskData(problem.designs, problem.targets, weights, fit_intercept=False)
        return solve(SquaredRisk(data), RowNorm(alpha), tol=tolerance).coefficients

    return Way(run, GAP, is_ours=True)


def blocks(problem: Ragged) -> tuple[Any, Array]:
    """The sparse block-diagonal matrix, the T columns of a feature side by side, and all targets."""
    from scipy.sparse import block_diag, csc_matrix

    d, n_tasks = problem.n_features, problem.n_tasks
    by_task = csc_matrix(block_diag(problem.designs, format="csc"))
    order = np.arange(d * n_tasks).reshape(n_tasks, d).T.ravel()  # feature by feature
    return csc_matrix(by_task[:, order]), np.concatenate(problem.targets)


def _celer_blocks(problem: Ragged, alpha: float) -> Way:
    from celer.homotopy import celer_path

    X, y = blocks(problem)  # not timed

    def run(tolerance: float) -> Array:
        # its objective is divided by all samples, not by those of a mean task
        found = celer_path(
            X, y, "grouplasso", alphas=np.array([alpha / problem.n_tasks]), groups=problem.n_tasks, tol=tolerance,
            max_iter=1000,
        )  # fmt: skip
        return found[1][:, 0].reshape(problem.n_features, problem.n_tasks)

    return Way(run, _HALF)


def _skglm_blocks(problem: Ragged, alpha: float) -> Way:
    from skglm.datafits import QuadraticGroup
    from skglm.penalties import WeightedGroupL2
    from skglm.solvers import GroupBCD
    from skglm.utils.jit_compilation import compiled_clone

    X, y = blocks(problem)  # not timed
    d, n_tasks = problem.n_features, problem.n_tasks
    pointers = np.arange(0, d * n_tasks + 1, n_tasks, dtype=np.int32)
    columns = np.arange(d * n_tasks, dtype=np.int32)
    datafit = compiled_clone(QuadraticGroup(pointers, columns))
    penalty = compiled_clone(WeightedGroupL2(alpha / n_tasks, np.ones(d), pointers, columns))

    def run(tolerance: float) -> Array:
        solver = GroupBCD(tol=tolerance, max_epochs=_PASSES, fit_intercept=False)
        return solver.solve(X, y, datafit, penalty)[0].reshape(d, n_tasks)

    return Way(run, 0.1 * alpha / n_tasks)


def _mutar(problem: Ragged, alpha: float) -> Way:
    """It wants as many samples in each task: shorter tasks are filled up with rows of zeros, which change nothing."""
    from mutar import GroupLasso

    n = max(len(y) for y in problem.targets)
    X, y = np.zeros((problem.n_tasks, n, problem.n_features)), np.zeros((problem.n_tasks, n))  # not timed
    for t, (design, target) in enumerate(zip(problem.designs, problem.targets, strict=True)):
        X[t, : len(target)], y[t, : len(target)] = design, target
    strength = alpha * problem.divisor / n  # its objective is divided by the samples of a task, zeros included

    def run(tolerance: float) -> Array:
        model = GroupLasso(strength, fit_intercept=False, max_iter=_WITHOUT_END, tol=tolerance).fit(X, y)
        return model.coef_shared_ + model.coef_specific_

    return Way(run, 0.01)  # of the largest change of a coefficient, as a share of the largest coefficient


def _loop(problem: Ragged, alpha: float) -> Way:
    """Cyclic coordinate descent over all rows with residuals, the gap every ten passes: a faster mutar.

    Products run along memory, and samples of the tasks may differ.
    """
    columns = np.ascontiguousarray(np.concatenate(problem.designs).T)  # (d, N), not timed
    y = np.concatenate(problem.targets)
    ends = np.cumsum([0] + [len(one) for one in problem.targets])

    def run(tolerance: float) -> Array:
        return _descend_all(columns, y, ends, alpha, problem.divisor, tolerance)

    return Way(run, GAP)


@njit(cache=True)
def _descend_all(columns, y, ends, alpha, divisor, tolerance):  # type: ignore[no-untyped-def]
    d, n_tasks = len(columns), len(ends) - 1
    A, residuals = np.zeros((d, n_tasks)), y.copy()
    curvatures = np.zeros(d)
    for j in range(d):
        for t in range(n_tasks):
            column = columns[j, ends[t] : ends[t + 1]]
            curvatures[j] = max(curvatures[j], np.dot(column, column) / divisor)
    at_zero = np.dot(y, y) / (2 * divisor)
    row = np.zeros(n_tasks)
    for made in range(1, 100_001):
        for j in range(d):
            if curvatures[j] == 0:
                continue
            for t in range(n_tasks):
                span = slice(ends[t], ends[t + 1])
                row[t] = A[j, t] + np.dot(columns[j, span], residuals[span]) / divisor / curvatures[j]
            length = np.sqrt(np.dot(row, row))
            shrunk = max(0.0, 1 - alpha / curvatures[j] / length) if length > 0 else 0.0
            for t in range(n_tasks):
                change = shrunk * row[t] - A[j, t]
                if change != 0:
                    residuals[ends[t] : ends[t + 1]] -= change * columns[j, ends[t] : ends[t + 1]]
                    A[j, t] += change
        if made % 10 == 0:
            polar = 0.0
            for j in range(d):
                for t in range(n_tasks):
                    span = slice(ends[t], ends[t + 1])
                    row[t] = np.dot(columns[j, span], residuals[span]) / divisor
                polar = max(polar, np.sqrt(np.dot(row, row)) / alpha)
            fits, rests = np.dot(residuals, y) / divisor, np.dot(residuals, residuals) / divisor
            factor = min(max(fits / rests, 0.0), 1 / polar)
            value = rests / 2
            for j in range(d):
                value += alpha * np.sqrt(np.dot(A[j], A[j]))
            if value - factor * fits + factor**2 / 2 * rests <= tolerance * at_zero:
                break
    return A
