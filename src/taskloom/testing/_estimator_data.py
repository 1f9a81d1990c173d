"""Small tables with a task column for the laws of estimators."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Table", "make_shared", "make_table"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Rows of several tasks: features without the task column, labels, the number of each row's task, and weights.

    Example:
        >>> make_table(n_rows=(2, 1), n_features=3).X.shape
        (3, 4)
    """

    features: Array
    y: NDArray[Any]
    tasks: NDArray[np.intp]
    weights: Array | None = None

    @property
    def X(self) -> Array:  # noqa: N802
        """With the task column first."""
        return np.column_stack([self.tasks, self.features])

    def taking(self, rows: Any) -> Table:
        """Some of the rows, in a given order."""
        weights = None if self.weights is None else self.weights[rows]
        return Table(self.features[rows], self.y[rows], self.tasks[rows], weights)

    def using(self, **changes: Any) -> Table:
        """With other features, labels, tasks or weights."""
        return replace(self, **changes)


def make_table(*, n_rows: tuple[int, ...] = (9, 12, 7), n_features: int = 4, is_classes: bool = False) -> Table:
    """Rows of related linear tasks with noise, shuffled, always the same ones.

    Args:
        n_rows: rows of each task.
        n_features: d.
        is_classes: labels 0 and 1 instead of numbers.
    """
    rng = np.random.default_rng([20240229, *n_rows, n_features])
    tasks = rng.permutation(np.repeat(np.arange(len(n_rows)), n_rows))
    features = rng.normal(size=(len(tasks), n_features)) + rng.normal(size=n_features)
    coef = rng.normal(size=n_features) + 0.4 * rng.normal(size=(len(n_rows), n_features))
    y = np.einsum("nd,nd->n", features, coef[tasks]) + 0.7 * rng.normal(size=len(tasks)) + tasks
    if is_classes:
        centre = np.array([np.median(y[tasks == task]) for task in range(len(n_rows))])
        return Table(features, (y > centre[tasks]).astype(int), tasks)
    return Table(features, y, tasks)


def make_shared(*, n_tasks: int = 3, n_rows: int = 10, is_classes: bool = False) -> tuple[Array, NDArray[Any], Table]:
    """The same rows for every task: X (n, d), Y (n, T), and the long table that says the same."""
    tables = [make_table(n_rows=(n_rows,) * (1 + task), is_classes=is_classes) for task in range(n_tasks)]
    X = tables[0].features
    Y = np.column_stack([table.y[:n_rows] for table in tables])
    tasks = np.tile(np.arange(n_tasks), n_rows)
    return X, Y, Table(np.repeat(X, n_tasks, axis=0), Y.ravel(), tasks)
