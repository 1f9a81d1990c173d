"""How much the loss of each task counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.task_column._validate import TaskRows

__all__ = ["loss_factors"]


def loss_factors(rows: TaskRows, loss_weights: Any = "sample") -> NDArray[np.float64]:
    r"""Say how much the loss of each task counts in the sum over tasks.

    These are the c_t of ``sum_t c_t sum_i s_ti loss_ti`` with the sample weights s_ti. ``"sample"`` lets every sample
    count the same: c_t = T / sum_ti s_ti, with T the number of tasks that have a label. ``"task"`` lets every task
    count the same: c_t = 1 / sum_i s_ti. Positive numbers w_t give c_t = w_t / sum_i s_ti. With equally many samples
    of weight 1 in every task, the first two are 1 / n.

    Args:
        rows: the data by task.
        loss_weights: ``"sample"`` (default), ``"task"``, or T positive numbers in the order of ``tasks_``.

    Returns:
        (T,), 0 for tasks without a label.

    Raises:
        DataError: another word, numbers that are not positive, or not T of them.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> from taskloom.task_column import fit_rows
        >>> rows = fit_rows(Ridge(), np.eye(3), y=np.array([[1.0, 2.0], [3.0, np.nan], [5.0, np.nan]]))
        >>> loss_factors(rows), loss_factors(rows, "task")
        (array([0.5, 0.5]), array([0.33333333, 1.        ]))
    """
    different = {id(weights): weights.sum() for weights in rows.sample_weights}  # often one object for all tasks
    totals: NDArray[np.float64] = np.array([different[id(weights)] for weights in rows.sample_weights])
    per_task: NDArray[np.float64] = np.divide(1.0, totals, out=np.zeros(len(totals)), where=totals > 0)
    if isinstance(loss_weights, str):
        if loss_weights == "task":
            return per_task
        if loss_weights == "sample":
            return np.where(totals > 0, float(rows.observed.sum() / totals.sum()), 0.0)
    numbers = _numbers(loss_weights)
    if numbers is None or numbers.shape != (rows.n_tasks,):
        found = repr(loss_weights) if numbers is None else f"an array of shape {numbers.shape}"
        raise DataError(f'loss_weights is {found}; expected "sample", "task" or {rows.n_tasks} positive numbers')
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise DataError(f"loss_weights holds {numbers[~(numbers > 0)][:1]}; expected positive numbers")
    factors: NDArray[np.float64] = numbers * per_task
    return factors


def _numbers(values: Any) -> NDArray[np.float64] | None:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
