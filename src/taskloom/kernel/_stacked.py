"""Rows of all tasks in one table, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse, vstack

from taskloom.task_column import TaskRows

__all__ = ["Stacked", "mixing_of", "stack_rows"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stacked:
    """All samples, sorted by task.

    Args:
        inputs: (N, d), an array or ``csr_array``.
        tasks: (N,) position of the task.
        targets: (N,).
        weights: (N,) sample weights.
        rows: (N,) row of the caller's X.
    """

    inputs: Any
    tasks: NDArray[np.intp]
    targets: Array
    weights: Array
    rows: NDArray[np.intp]

    def scattered(self, values: Array, shape: tuple[int, ...]) -> Array:
        """Values of the samples where the caller has their labels: (n,) or (n, T); 0 where there is no label."""
        table = np.zeros(shape)
        place = self.rows if len(shape) == 1 else (self.rows, self.tasks)
        table[place] = values
        return table


def stack_rows(rows: TaskRows) -> Stacked:
    """One table of the rows of all tasks."""
    sizes = [len(target) for target in rows.targets]
    if issparse(rows.designs[0]):
        inputs: Any = csr_array(vstack(rows.designs))
    else:
        inputs = np.concatenate(rows.designs)
    return Stacked(
        inputs=inputs,
        tasks=np.repeat(np.arange(rows.n_tasks), sizes),
        targets=np.concatenate(rows.targets),
        weights=np.concatenate(rows.sample_weights),
        rows=np.concatenate(rows.rows),
    )


def mixing_of(positions: NDArray[np.intp], n_tasks: int) -> Array:
    """Weights of the tasks for each row, (m, T): one task, or all alike where the position is -1."""
    mixing = np.zeros((len(positions), n_tasks))
    is_known = positions >= 0
    mixing[np.flatnonzero(is_known), positions[is_known]] = 1.0
    mixing[~is_known] = 1.0 / n_tasks
    return mixing
