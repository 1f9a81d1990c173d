"""Standardise features and leave the task column alone."""

from __future__ import annotations

from typing import Any, Self

import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from taskloom.errors import DataError
from taskloom.task_column._column import TaskFeature, column_names, column_position, take_column
from taskloom.task_column._numbers import read_table
from taskloom.task_column._parameters import check_flag
from taskloom.task_column._several_tables import refuse_several_tables
from taskloom.task_column._validate import predict_rows

__all__ = ["TaskStandardScaler"]

Array = NDArray[np.float64]


class TaskStandardScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Bring every feature to mean 0 and variance 1, over all tasks or within each task; leave the task column as it is.

    scikit-learn's own scaler in front of an estimator with a task column would scale the labels of the tasks too.
    Scaling over all tasks keeps differences between tasks in the features; scaling within each task removes them, which
    suits tasks that measured the same thing on other scales.

    Args:
        task_feature: position or name of the task column; None: there is none.
        per_task: use mean and variance of each task (of the rows of ``fit``) instead of those of all rows.
        unknown_task: with ``per_task``, what to do with rows of a task that ``fit`` did not see: ``"error"`` (default),
            or ``"mean"``, to use mean and variance of all rows.

    Attributes:
        tasks_: (T,) labels; absent without a task column.
        mean_: (d,) means over all rows, without the task column.
        scale_: (d,) standard deviations, 1 for constant features.
        task_mean_, task_scale_: (T, d), with ``per_task``.

    Raises:
        DataError: a table with missing or infinite values, without the task column, or with other columns than in
            ``fit``.
        TaskError: a task column that does not hold labels, or an unseen task.

    Example:
        >>> X = np.array([[0, 1.0], [0, 3.0], [1, 10.0], [1, 30.0]])
        >>> TaskStandardScaler(task_feature=0, per_task=True).fit_transform(X)
        array([[ 0., -1.],
               [ 0.,  1.],
               [ 1., -1.],
               [ 1.,  1.]])
    """

    def __init__(
        self, task_feature: TaskFeature | None = None, *, per_task: bool = False, unknown_task: str = "error"
    ) -> None:
        self.task_feature = task_feature
        self.per_task = per_task
        self.unknown_task = unknown_task

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn means and standard deviations.

        Args:
            X: (n, d), or (n, d + 1) with the task column: array or data frame.
            y: not used.
        """
        refuse_several_tables(X)
        check_flag("per_task", self.per_task)
        validate_data(self, X, skip_check_array=True, reset=True)
        if self.unknown_task not in ("error", "mean"):
            raise DataError(f'unknown_task={self.unknown_task!r}; expected "error" or "mean"')
        if self.per_task and self.task_feature is None:
            raise DataError(
                "per_task=True does nothing beside task_feature=None; leave it out, or name the task column"
            )
        labels = None
        if self.task_feature is not None:
            X, labels = take_column(X, self.task_feature)
        numbers = read_table(X, estimator=self)
        self.mean_, self.scale_ = _moments(numbers)
        if labels is not None:
            self.tasks_, positions = np.unique(labels, return_inverse=True)
            if self.per_task:
                moments = [_moments(numbers[positions == task]) for task in range(len(self.tasks_))]
                self.task_mean_ = np.array([mean for mean, _ in moments])
                self.task_scale_ = np.array([scale for _, scale in moments])
        return self

    def transform(self, X: Any) -> Any:
        """Scale the features.

        Args:
            X: (n, d), or (n, d + 1) with the task column, with the columns of ``fit``.

        Returns:
            a table of the kind of X, the task column in its place. A table of arrays holds float64, or objects where
            the task labels are text.
        """
        check_is_fitted(self)
        found = predict_rows(self, X, unknown_task=self.unknown_task if self.per_task else "mean")
        mean, scale = self.mean_, self.scale_
        if self.per_task:
            assert found.positions is not None
            # the last row, which -1 picks, is for tasks that were not seen
            mean = np.vstack([self.task_mean_, self.mean_])[found.positions]
            scale = np.vstack([self.task_scale_, self.scale_])[found.positions]
        return self._put_back(X, (found.design - mean) / scale)

    def _put_back(self, X: Any, scaled: Array) -> Any:
        """The scaled features in the places that they had beside the task column."""
        frame = nw.from_native(X, eager_only=True, pass_through=True)
        is_frame = isinstance(frame, nw.DataFrame)
        if not is_frame and self.task_feature is None:
            return scaled
        table = frame if is_frame else np.asarray(X)
        beside = list(range(table.shape[1]))
        if self.task_feature is not None:
            names = column_names(X) or self._fitted_names()
            beside.remove(column_position(self.task_feature, n_columns=table.shape[1], names=names))
        if is_frame:
            columns = [
                nw.new_series(frame.columns[place], scaled[:, number], backend=frame.implementation)
                for number, place in enumerate(beside)
            ]
            return frame.with_columns(*columns).to_native()
        found = table.astype(object if table.dtype.kind not in "biuf" else np.float64)
        found[:, beside] = scaled
        return found

    def _fitted_names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else [str(name) for name in names]


def _moments(numbers: Array) -> tuple[Array, Array]:
    """Means, and standard deviations with 1 in place of those that are 0 up to rounding."""
    mean = numbers.mean(axis=0)
    deviation = numbers.std(axis=0)
    is_constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(numbers).max(axis=0)
    return mean, np.where(is_constant, 1.0, deviation)
