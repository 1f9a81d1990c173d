"""From a Gram matrix over rows and a kernel over tasks to the Gram matrix of rows with tasks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from taskloom.errors import DataError

__all__ = ["multitask_gram"]


def multitask_gram(K: ArrayLike, B: ArrayLike, *, s: ArrayLike, t: ArrayLike | None = None) -> NDArray[np.float64]:
    """Gram matrix of rows that belong to tasks: ``B[s_i, t_j] * K[i, j]``.

    Positive semi-definite for every set of rows exactly if K and B are (Schur's product theorem).

    Args:
        K: kernel between rows, (n, m).
        B: kernel between tasks, (T, T).
        s: position of the task of each row of K, (n,), from 0 to T - 1.
        t: the same for the columns of K, (m,); default s.

    Returns:
        (n, m) float64.

    Raises:
        DataError: shapes that do not agree, positions outside B.

    Source:
        T. Evgeniou, C. Micchelli, M. Pontil, Learning Multiple Tasks with Kernel Methods, JMLR 6, 2005, eq. 18.

    Example:
        >>> import numpy as np
        >>> multitask_gram(np.ones((2, 2)), [[2.0, 1.0], [1.0, 2.0]], s=[0, 1])
        array([[2., 1.],
               [1., 2.]])
    """
    base, between = np.asarray(K, dtype=np.float64), np.asarray(B, dtype=np.float64)
    rows = np.asarray(s)
    columns = rows if t is None else np.asarray(t)
    if between.ndim != 2 or between.shape[0] != between.shape[1]:
        raise DataError(f"B has shape {between.shape}; expected (T, T)")
    if base.shape != (*rows.shape, *columns.shape) or base.ndim != 2:
        raise DataError(
            f"K has shape {base.shape}, but s and t name the tasks of {rows.shape} and {columns.shape} rows"
        )
    for name, tasks in (("s", rows), ("t", columns)):
        if tasks.dtype.kind not in "iu" or (tasks.size and (tasks.min() < 0 or tasks.max() >= len(between))):
            raise DataError(f"{name} must hold whole numbers from 0 to {len(between) - 1}, positions of tasks in B")
    gram: NDArray[np.float64] = base * between[np.ix_(rows, columns)]
    return gram
