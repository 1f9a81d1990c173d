"""Which rows make up each step of an epoch: shuffled, even, and the same for whoever asks with the same seed.

Rows are dealt evenly over the steps (sizes differ by at most one), so that no epoch ends with a tiny batch. With
several data sets every task deals its own rows over the same steps: all tasks finish an epoch together, and a
task with more rows has larger batches (proportional sampling).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from taskloom._rng import numpy_stream
from taskloom.errors import DataError

__all__ = ["RowOrder", "automatic_batch_size"]


def automatic_batch_size(rows_by_task: Sequence[int], *, per_task: bool) -> int:
    """Batch size when the user gives none: a power of two that makes about 20 steps an epoch (4 per small task).

    Args:
        rows_by_task: training rows of every task.
        per_task: True for the multi-data-set layout, where the size is that of one task's mini-batch.

    Returns:
        a power of two in [16, 512]; in [8, 256] per task.

    Example:
        >>> automatic_batch_size([3500, 3500], per_task=False), automatic_batch_size([60, 70], per_task=True)
        (128, 16)
    """
    rows = float(np.median(np.asarray(rows_by_task))) if per_task else float(max(rows_by_task))
    wanted = rows / (4.0 if per_task else 20.0)
    low, high = (8, 256) if per_task else (16, 512)
    return int(min(high, max(low, 2 ** round(math.log2(max(wanted, 1.0))))))


class RowOrder:
    """Shuffled rows for every step of every epoch, deterministic in (seed, epoch).

    Args:
        rows: (n,) row indices, or with several data sets one such array per task.
        batch_size: largest number of rows of one step (of one task).
        seed: base seed; the stream is named ``"order"``.

    Attributes:
        seed: base seed.
        batch_size: largest number of rows of one step.
        steps: number of steps of an epoch: the largest n / batch_size over the tasks, rounded up.
        width: number of slots of a step (of one task).
        per_task: True with several data sets.

    Raises:
        DataError: no rows, or batch_size below 1.

    Example:
        >>> order = RowOrder(np.arange(5), batch_size=2, seed=0)
        >>> rows, real = order.epoch(0)
        >>> rows.shape, int(real.sum()), sorted(rows[real].tolist())
        ((3, 2), 5, [0, 1, 2, 3, 4])
    """

    def __init__(self, rows: np.ndarray | Sequence[np.ndarray], *, batch_size: int, seed: int) -> None:
        self.per_task = not isinstance(rows, np.ndarray)
        parts = [rows] if isinstance(rows, np.ndarray) else list(rows)
        counts = np.asarray([len(part) for part in parts], dtype=np.int64)  # (K,)
        if counts.size == 0 or counts.min() == 0:
            raise DataError("a task has no training row; every task needs at least one row in the training part")
        if batch_size < 1:
            raise DataError(f"batch_size must be at least 1, found {batch_size}")
        self.seed = seed
        self.batch_size = batch_size
        self.steps = math.ceil(int(counts.max()) / batch_size)
        bounds = counts[:, None] * np.arange(self.steps + 1) // self.steps  # (K, steps + 1)
        sizes = np.diff(bounds, axis=1)  # (K, steps)
        self.width = int(sizes.max())
        slots = np.arange(self.width)
        self._real = slots[None, None, :] < sizes[:, :, None]  # (K, steps, width)
        self._places = np.where(self._real, bounds[:, :-1, None] + slots, 0)  # (K, steps, width)
        self._rows = np.zeros((len(parts), int(counts.max())), dtype=np.int64)
        self._padding = np.arange(self._rows.shape[1])[None, :] >= counts[:, None]
        for position, part in enumerate(parts):
            self._rows[position, : len(part)] = part

    def epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and which slots are real (not padding) of one epoch.

        Returns:
            two arrays (steps, width), or (steps, K, width) with several data sets; int64 and bool. Padding slots
            hold a row of the task all the same, so that they can be gathered.
        """
        keys = numpy_stream(self.seed, "order", epoch).random(self._rows.shape)
        keys[self._padding] = 2.0
        shuffled = np.take_along_axis(self._rows, np.argsort(keys, axis=1), axis=1)  # (K, n)
        flat = np.take_along_axis(shuffled, self._places.reshape(len(shuffled), -1), axis=1)
        rows = flat.reshape(self._places.shape)  # (K, steps, width)
        if not self.per_task:
            return rows[0], self._real[0]
        return rows.transpose(1, 0, 2), self._real.transpose(1, 0, 2)
