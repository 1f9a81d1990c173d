"""From what a user passes to ``fit`` and ``predict`` to checked numbers, task by task.

Two forms are accepted. With ``task_feature`` a column of X says which task a row belongs to; every row has one label.
With ``task_feature=None`` all tasks share the rows of X: y has one column per task, in which NaN means "not labelled",
or one axis if there is a single task.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, issparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import validate_data

from taskloom.errors import DataError, TaskError
from taskloom.task_column._column import column_names, show_labels, take_column
from taskloom.task_column._labels import as_vector, read_classes, read_numbers
from taskloom.task_column._numbers import read_table, read_weights
from taskloom.task_column._plain import are_finite, is_plain, is_plain_table
from taskloom.task_column._several_tables import count_axes, refuse_several_tables

__all__ = ["PredictRows", "TaskRows", "fit_rows", "predict_rows"]

Array = NDArray[np.float64]
Design: TypeAlias = Any  # Array, or csc_array (SciPy has no types)


@dataclass(frozen=True)
class TaskRows:
    """What ``fit`` gets out of X, y and the sample weights, by task. Rows of weight 0 are left out.

    Args:
        tasks: (T,) labels, sorted; 0, 1, ..., T - 1 without a task column.
        designs: T matrices X_t (n_t, d), float64, without the task column; one object T times where the tasks share
            all rows.
        targets: T vectors y_t (n_t,); -1.0 and +1.0 for classifiers.
        sample_weights: T vectors s_t (n_t,), positive; ones by default.
        rows: T vectors (n_t,): which rows of the caller's X they are.
        is_shared: the designs are one object and every label is observed.
        output_ndim: 1 where predictions have one value per row, 2 where they have one per row and task.
        classes: the two labels that -1 and +1 stand for (one label if there is only one); None for regressors.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> rows = fit_rows(Ridge(), np.eye(3), y=np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]))
        >>> rows.n_tasks, rows.targets[1], rows.rows[1], rows.is_shared
        (2, array([2., 6.]), array([0, 2]), False)
    """

    tasks: NDArray[Any]
    designs: tuple[Design, ...]
    targets: tuple[Array, ...]
    sample_weights: tuple[Array, ...]
    rows: tuple[NDArray[np.intp], ...]
    is_shared: bool
    output_ndim: int = 1
    classes: NDArray[Any] | None = None

    @property
    def n_tasks(self) -> int:
        """Number of tasks T, those without a label included."""
        return len(self.tasks)

    @property
    def n_features(self) -> int:
        """Number of columns d beside the task column."""
        return int(self.designs[0].shape[1])

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(T,) which tasks have at least one label of positive weight."""
        return np.array([len(target) > 0 for target in self.targets])

    def names(self, chosen: NDArray[np.bool_]) -> str:
        """Labels of some tasks, for a message.

        Args:
            chosen: (T,) which tasks.
        """
        return show_labels(self.tasks[chosen])

    @property
    def of_one_class(self) -> NDArray[np.bool_]:
        """(T,) which tasks of a classifier have labels of one class only."""
        return np.array([len(target) > 0 and bool((target == target[0]).all()) for target in self.targets])


@dataclass(frozen=True)
class PredictRows:
    """What ``predict`` gets out of X.

    Args:
        design: (n, d), float64, without the task column.
        positions: (n,) position of the task of each row in ``tasks_``, -1 for a task that was not fitted; None without
            a task column, where every task is predicted for every row.

    Example:
        >>> import numpy as np
        >>> PredictRows(np.eye(2), np.array([0, -1])).positions
        array([ 0, -1])
    """

    design: Design
    positions: NDArray[np.intp] | None


def fit_rows(
    estimator: BaseEstimator, X: Any, *, y: Any, sample_weight: Any = None, accept_sparse: bool = False
) -> TaskRows:
    """Check the arguments of ``fit`` and sort them by task; sets ``n_features_in_`` and ``feature_names_in_``.

    Args:
        estimator: who asks; its ``task_feature`` (None if it has none) names the task column, and a classifier (by its
            tags) gets the targets -1 and +1.
        X: (n, d), or (n, d + 1) with the task column: array, nested lists, sparse matrix, data frame.
        y: (n,) or, without a task column, (n, T) with NaN for missing labels.
        sample_weight: (n,), or (n, T) for a y of that shape; at least 0; None for ones.
        accept_sparse: whether X may be sparse; then the designs are ``csc_array``.

    Returns:
        the rows by task.

    Raises:
        DataError: shapes, types, missing and infinite values, weights; says what was found and what to do.
        TaskError: a task column that does not hold labels.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> fit_rows(Ridge(), [[0.0, 1.0], [1.0, 0.0]], y=[1.0, 2.0]).designs[0].shape
        (2, 2)
    """
    refuse_several_tables(X, y=y)
    _note_columns(estimator, X, y)
    task_feature = getattr(estimator, "task_feature", None)
    labels = None
    if task_feature is not None:
        X, labels = take_column(X, task_feature)
        y = as_vector(y)
    design = _check_design(estimator, X, accept_sparse)
    targets, classes = read_classes(y) if is_classifier(estimator) else (read_numbers(y), None)
    if targets.ndim == 0:
        raise DataError(f"y is the single value {y!r}; expected one label per row of X")
    if design.shape[0] != len(targets):
        raise DataError(
            f"Found input variables with inconsistent numbers of samples: X has {design.shape[0]} rows, y has "
            f"{len(targets)} labels; expected a label for each row"
        )
    weights = _check_weights(sample_weight, targets)
    if labels is not None:
        return _by_column(design, labels, targets=targets, weights=weights, classes=classes)
    return _by_target(design, targets=targets, weights=weights, classes=classes)


def predict_rows(
    estimator: BaseEstimator, X: Any, *, unknown_task: str = "error", other: str = "mean", accept_sparse: bool = False
) -> PredictRows:
    """Check the argument of ``predict`` against what the estimator was fitted on.

    Args:
        estimator: a fitted estimator with ``task_feature`` and, with a task column, ``tasks_``.
        X: as in ``fit``.
        unknown_task: ``"error"``, or anything else to get the position -1 for tasks that were not fitted.
        other: what the estimator calls its other way with such tasks, for the message.
        accept_sparse: as in :func:`fit_rows`.

    Raises:
        DataError: wrong number of columns, missing or infinite values.
        TaskError: a task that was not fitted, with ``unknown_task="error"``.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import Ridge
        >>> predict_rows(Ridge().fit(np.eye(2), [1.0, 2.0]), np.eye(2)).positions is None
        True
    """
    refuse_several_tables(X)
    if count_axes(X) == 1:
        raise DataError("X has one axis; expected a table. Reshape your data: X.reshape(1, -1) if it is one row")
    validate_data(estimator, X, skip_check_array=True, reset=False)
    task_feature = getattr(estimator, "task_feature", None)
    if task_feature is None:
        return PredictRows(_check_design(estimator, X, accept_sparse), None)
    fitted_names = getattr(estimator, "feature_names_in_", None)
    names = column_names(X) or (None if fitted_names is None else [str(name) for name in fitted_names])
    X, labels = take_column(X, task_feature, names=names)
    design = _check_design(estimator, X, accept_sparse)
    return PredictRows(design, _positions(labels, np.asarray(estimator.tasks_), unknown_task, other))


def _note_columns(estimator: BaseEstimator, X: Any, y: Any) -> None:
    """Set ``n_features_in_`` and ``feature_names_in_``."""
    if y is None or not is_plain_table(X):
        validate_data(estimator, X, y, skip_check_array=True, reset=True)
        return
    if hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
    estimator.n_features_in_ = X.shape[1]


def _check_design(estimator: BaseEstimator, X: Any, accept_sparse: bool) -> Design:
    if is_plain_table(X) and is_plain(X):
        return X
    design = read_table(X, estimator=estimator, accept_sparse=accept_sparse)
    return csc_array(design) if issparse(design) else design


def _check_weights(sample_weight: Any, targets: Array) -> Array:
    """Weights shaped as the targets; the same memory for all tasks where these have the same weights."""
    if sample_weight is None:
        ones = np.ones(targets.shape[:1])
        return ones if targets.ndim == 1 else np.broadcast_to(ones[:, None], targets.shape)
    weights: Array = read_weights(sample_weight)
    if weights.shape == targets.shape[:1]:
        weights = np.broadcast_to(weights.reshape(-1, *[1] * (targets.ndim - 1)), targets.shape)
    if weights.shape != targets.shape:
        also = f" or {targets.shape}" if targets.ndim == 2 else ""
        raise DataError(f"sample_weight has shape {weights.shape}; expected ({len(targets)},){also}, as y has")
    if (weights < 0).any():
        row = int(np.argwhere(weights < 0)[0][0])
        raise DataError(
            f"sample_weight is negative in row {row} ({weights[row].min():g}); expected numbers of at least 0"
        )
    if not (weights[~np.isnan(targets)] > 0).any():
        raise DataError("sample_weight is zero for every label; at least one weight must not be zero")
    return weights


def _by_column(
    design: Design, labels: NDArray[Any], *, targets: Array, weights: Array, classes: NDArray[Any] | None
) -> TaskRows:
    """Rows sorted by the task column; a task whose weights are all 0 stays, without rows."""
    tasks, positions = np.unique(labels, return_inverse=True)
    kept = np.flatnonzero(weights > 0)
    ordered = kept[np.argsort(positions[kept], kind="stable")]
    counts = np.bincount(positions[kept], minlength=len(tasks))
    rows = tuple(np.split(ordered, np.cumsum(counts)[:-1]))
    by_row = design.tocsr() if issparse(design) else design
    return _noted(
        TaskRows(
            tasks=tasks,
            designs=tuple(_select(by_row, chosen) for chosen in rows),
            targets=tuple(targets[chosen] for chosen in rows),
            sample_weights=tuple(weights[chosen] for chosen in rows),
            rows=rows,
            is_shared=False,
            output_ndim=1,
            classes=classes,
        )
    )


def _by_target(design: Design, *, targets: Array, weights: Array, classes: NDArray[Any] | None) -> TaskRows:
    """The observed rows of every column of y; one design for all where these are the same rows."""
    output_ndim = targets.ndim
    targets, weights = targets.reshape(len(targets), -1), weights.reshape(len(targets), -1)
    if are_finite(targets) and (_different(weights) > 0).all():
        return _complete(design, targets=targets, weights=weights, classes=classes, output_ndim=output_ndim)
    observed = ~np.isnan(targets) & (weights > 0)
    is_shared = bool((observed == observed[:, :1]).all())
    by_row = design.tocsr() if issparse(design) and not observed.all() else design
    rows = tuple(np.flatnonzero(column) for column in observed.T)
    if is_shared:
        designs = (design if observed.all() else _select(by_row, rows[0]),) * len(rows)
    else:
        designs = tuple(_select(by_row, chosen) for chosen in rows)
    return _noted(
        TaskRows(
            tasks=np.arange(targets.shape[1]),
            designs=designs,
            targets=tuple(targets[chosen, task] for task, chosen in enumerate(rows)),
            sample_weights=tuple(weights[chosen, task] for task, chosen in enumerate(rows)),
            rows=rows,
            is_shared=is_shared,
            output_ndim=output_ndim,
            classes=classes,
        )
    )


def _complete(
    design: Design, *, targets: Array, weights: Array, classes: NDArray[Any] | None, output_ndim: int
) -> TaskRows:
    """The rows where no label is missing: all tasks share them, and weights that are the same."""
    n_tasks, different = targets.shape[1], np.ascontiguousarray(_different(weights).T)
    return TaskRows(
        tasks=np.arange(n_tasks),
        designs=(design,) * n_tasks,
        targets=tuple(np.ascontiguousarray(targets.T)),
        sample_weights=tuple(different) if len(different) == n_tasks else (different[0],) * n_tasks,
        rows=(np.arange(len(targets)),) * n_tasks,
        is_shared=True,
        output_ndim=output_ndim,
        classes=classes,
    )


def _different(weights: Array) -> Array:
    """One column where all columns are the same memory."""
    return weights[:, :1] if weights.strides[1] == 0 else weights


def _select(by_row: Any, rows: NDArray[np.intp]) -> Design:
    chosen = by_row[rows]
    return csc_array(chosen) if issparse(chosen) else chosen


def _noted(found: TaskRows) -> TaskRows:
    """Say which tasks have no label: what an estimator does with them is its own affair."""
    empty = ~found.observed
    if empty.any():
        warnings.warn(f"no labels (of positive weight) for the tasks {found.names(empty)}", UserWarning, stacklevel=4)
    return found


def _positions(labels: NDArray[Any], tasks: NDArray[Any], unknown_task: str, other: str) -> NDArray[np.intp]:
    """Where each label is in the sorted labels of the fitted tasks; -1 where it is not."""
    if (labels.dtype.kind in "UST") != (tasks.dtype.kind in "UST"):
        raise TaskError(
            f"the task column holds values of type {labels.dtype}, but the fitted tasks are {show_labels(tasks)}; "
            "write the labels as in fit"
        )
    places = np.minimum(np.searchsorted(tasks, labels), len(tasks) - 1)
    is_known = tasks[places] == labels
    if unknown_task == "error" and not is_known.all():
        unseen = np.unique(labels[~is_known])
        raise TaskError(
            f"X has rows of tasks that were not in the data of fit: {show_labels(unseen)} (fitted: "
            f"{show_labels(tasks)}). Leave these rows out, fit on data that have all tasks (TaskStratifiedKFold keeps "
            f'every task in the training part), or construct the estimator with unknown_task="{other}"'
        )
    return np.where(is_known, places, -1)
