"""The kernel over tasks, from a mean, a graph, or numbers given."""

from __future__ import annotations

import reprlib
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskloom.errors import DataError
from taskloom.task_column import check_number, refuse_unused

__all__ = ["covariance_of", "laplacian", "mean_covariance", "symmetric", "task_kernel_matrix"]

Array = NDArray[np.float64]


def symmetric(name: str, given: ArrayLike, n_tasks: int | None) -> Array:
    """A finite symmetric matrix of the size wanted, or an error that names it."""
    size = "T" if n_tasks is None else n_tasks
    try:
        matrix = np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} is {reprlib.repr(given)}; expected numbers of shape ({size}, {size}), one row and column per task"
        ) from None
    if matrix.ndim != 2 or matrix.shape != (n_tasks or len(matrix),) * 2:
        raise DataError(f"{name} has shape {matrix.shape}; expected ({size}, {size}), one row and column per task")
    if not np.isfinite(matrix).all():
        raise DataError(f"{name} holds NaN or infinite numbers")
    if not np.allclose(matrix, matrix.T, rtol=1e-10, atol=1e-12 * np.abs(matrix).max(initial=0.0)):
        raise DataError(f"{name} is not symmetric (largest difference {np.abs(matrix - matrix.T).max():.3g})")
    return 0.5 * (matrix + matrix.T)


def laplacian(graph: ArrayLike, n_tasks: int | None = None) -> Array:
    """Laplacian of a graph over tasks given by non-negative weights (T, T); the diagonal is not looked at."""
    weights = symmetric("graph", graph, n_tasks)
    np.fill_diagonal(weights, 0.0)
    if (weights < 0).any():
        raise DataError(f"graph holds the weight {weights.min():g}; expected weights of at least 0")
    return np.diag(weights.sum(axis=1)) - weights


def mean_covariance(coupling: float, n_tasks: int) -> Array:
    """Inverse of ``J + coupling (I - J)``, J = 11'/T: tasks that are pulled to their mean."""
    check_number("coupling", coupling, is_open=True, note="1: independent tasks")
    return np.full((n_tasks, n_tasks), (1 - 1 / coupling) / n_tasks) + np.eye(n_tasks) / coupling


def covariance_of(precision: Array) -> Array:
    """Inverse of a positive definite task precision; a singular one gets a small ridge, with a warning."""
    values, vectors = np.linalg.eigh(precision)
    largest = float(values[-1])
    if largest <= 0 or values[0] < -1e-10 * largest:
        raise DataError(
            f"task_precision has the eigenvalue {values[0]:.3g}; expected a positive definite matrix (a valid penalty "
            "is not negative)"
        )
    if values[0] < 1e-10 * largest:
        warnings.warn(
            f"task_precision is singular (smallest eigenvalue {values[0]:.3g}): some combination of tasks would be "
            f"free of any penalty. Added {1e-10 * largest:.3g} to its diagonal",
            UserWarning,
            stacklevel=2,
        )
        values = np.maximum(values, 0.0) + 1e-10 * largest
    inverse: Array = (vectors / values) @ vectors.T
    return inverse


def task_kernel_matrix(owner: Any, *, n_tasks: int | None) -> Array | None:
    """Kernel over tasks (T, T), or None for the mean coupling of an unknown number of tasks.

    Args:
        owner: machine or kernel with the parameters ``task_kernel``: ``"mean"``: 1 / mu + [s = t]; ``"graph"``:
            (I + L / mu)^-1 with the Laplacian L; or numbers (T, T); ``mu``: positive; large: independent tasks; and
            ``graph``: weights (T, T) for ``"graph"``.
        n_tasks: T, where it is known.
    """
    task_kernel, graph = owner.task_kernel, owner.graph
    if graph is not None and not (isinstance(task_kernel, str) and task_kernel == "graph"):
        shown = repr(task_kernel) if isinstance(task_kernel, str) else "numbers"
        raise DataError(
            f'graph is given, but task_kernel is {shown}, which does not look at it; set task_kernel="graph", or leave '
            "graph out"
        )
    mu = check_number("mu", owner.mu, is_open=True, note="large: independent tasks, small: one function for all")
    if not isinstance(task_kernel, str):
        matrix = _checked("task_kernel", task_kernel, n_tasks)
        refuse_unused(owner, "mu", beside="a task_kernel of numbers", instead='set task_kernel="mean" or "graph"')
        return matrix
    if task_kernel == "mean":
        return None if n_tasks is None else np.eye(n_tasks) + 1 / mu
    if task_kernel == "graph":
        if graph is None:
            raise DataError('task_kernel="graph" needs graph=, weights (T, T) between the tasks')
        edges = laplacian(graph, n_tasks)
        return np.asarray(np.linalg.inv(np.eye(len(edges)) + edges / mu), dtype=np.float64)
    raise DataError(f'task_kernel={task_kernel!r}; expected "mean", "graph" or numbers of shape (T, T)')


def _checked(name: str, given: ArrayLike, n_tasks: int | None) -> Array:
    matrix = symmetric(name, given, n_tasks)
    values = np.linalg.eigvalsh(matrix)
    if values[0] < -1e-10 * max(float(values[-1]), 0.0) or values[-1] <= 0:
        raise DataError(f"{name} has the eigenvalue {values[0]:.3g}; a kernel over tasks is positive semi-definite")
    return matrix
