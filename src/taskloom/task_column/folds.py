"""Split rows into folds that all have rows of every task."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length

from taskloom.errors import DataError
from taskloom.task_column._column import TaskFeature, show_labels, take_column
from taskloom.task_column._parameters import check_flag

__all__ = ["TaskStratifiedKFold"]


class TaskStratifiedKFold(BaseCrossValidator):  # type: ignore[misc]
    """Cut the rows into folds such that every task is spread evenly over them.

    A plain split of rows may leave a fold without rows of a small task, and then the estimator that is fitted on the
    rest of the folds never saw that task. Here a task with at least ``n_splits`` rows has rows in every fold; one with
    m < ``n_splits`` rows has one in each of m folds. Where y holds classes, these are spread evenly within a task too.
    The row of a task of one row is tested in one fold, by an estimator that never saw the task: a warning says so.

    Args:
        n_splits: number of folds, at least 2; default 5, as in scikit-learn.
        task_feature: position or name of the task column; None: all rows belong to one task.
        shuffle: whether to shuffle the rows of each task before they are dealt to folds; default: no, they are dealt in
            the order of the table.
        random_state: seed or generator of the shuffle.

    Example:
        >>> X = np.array([[0, 1.0], [0, 2.0], [0, 3.0], [1, 4.0], [1, 5.0]])
        >>> for train, test in TaskStratifiedKFold(2, task_feature=0).split(X):
        ...     print(train, test)
        [1 3] [0 2 4]
        [0 2 4] [1 3]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        task_feature: TaskFeature | None = 0,
        shuffle: bool = False,
        random_state: Any = None,
    ) -> None:
        if isinstance(n_splits, bool) or not isinstance(n_splits, int | np.integer) or n_splits < 2:
            raise DataError(f"n_splits={n_splits!r}; expected a whole number of at least 2")
        if not check_flag("shuffle", shuffle) and random_state is not None:
            raise DataError("random_state does nothing without shuffle=True; leave it out or shuffle")
        self.n_splits = n_splits
        self.task_feature = task_feature
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows of the training part and of the test part, fold by fold.

        Args:
            X: (n, d + 1) table with the task column.
            y: (n,) labels; only their classes are looked at; may be None.
            groups: not used.
        """
        return super().split(X, y, groups)  # type: ignore[no-any-return]

    def _iter_test_indices(self, X: Any = None, y: Any = None, groups: Any = None) -> Iterator[NDArray[np.intp]]:
        folds = self._folds(X, y)
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds == fold)

    def _folds(self, X: Any, y: Any) -> NDArray[np.intp]:
        """Number of the fold of every row: within a task, and within its classes, folds are dealt one after another."""
        n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
        labels = np.zeros(n_rows, dtype=int) if self.task_feature is None else take_column(X, self.task_feature)[1]
        if y is not None:
            check_consistent_length(X, y)
        tasks, positions, counts = np.unique(labels, return_inverse=True, return_counts=True)
        self._check_counts(tasks, counts, n_rows)
        ranks = np.arange(n_rows)
        if self.shuffle:
            ranks = check_random_state(self.random_state).permutation(n_rows)
        order = np.lexsort((ranks, _classes(y, n_rows), positions))
        folds = np.empty(n_rows, dtype=np.intp)
        folds[order] = np.arange(n_rows) % self.n_splits
        return folds

    def _check_counts(self, tasks: NDArray[Any], counts: NDArray[np.intp], n_rows: int) -> None:
        if n_rows < self.n_splits:
            raise DataError(f"n_splits={self.n_splits} but X has {n_rows} rows; expected at least one row per fold")
        single = tasks[counts == 1]
        if len(single):
            warnings.warn(
                f"tasks of one row: {show_labels(single)}. When that row is tested, its task is not in the training "
                'part; leave these tasks out or construct the estimator with unknown_task="mean"',
                UserWarning,
                stacklevel=5,
            )


def _classes(y: Any, n_rows: int) -> NDArray[np.intp]:
    """Classes as numbers; one class for all rows where y holds no classes."""
    if y is None or np.ndim(y) != 1 or type_of_target(y) not in ("binary", "multiclass"):
        return np.zeros(n_rows, dtype=np.intp)
    values, classes = np.unique(np.asarray(y), return_inverse=True)
    # many whole numbers are measurements, not classes
    return classes if len(values) <= max(2, n_rows // 10) else np.zeros(n_rows, dtype=np.intp)
