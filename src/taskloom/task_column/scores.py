"""Scores by task, for searches and tables: a pooled score hides a task that is predicted badly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.task_column._column import TaskFeature, show_labels, take_column
from taskloom.task_column._parameters import check_flag

__all__ = ["TaskScorer", "make_task_scorer", "task_scores"]

Metric = Callable[[Any, Any], float]
Response = Literal["predict", "predict_proba", "decision_function"]


def task_scores(
    estimator: Any,
    X: Any,
    *,
    y: Any,
    metric: Metric,
    task_feature: TaskFeature | None = None,
    response: Response = "predict",
) -> dict[Any, float]:
    """Metric of every task by itself.

    Args:
        estimator: fitted; also a pipeline or a search.
        X: table with the task column, or one that all tasks share.
        y: (n,), or (n, T) with NaN for missing labels where the tasks share X.
        metric: function of true and predicted values, for example ``sklearn.metrics.r2_score``.
        task_feature: position or name of the task column in X; None: that of the estimator if it has one (not looked
            for inside pipelines), else one column of y per task.
        response: method of the estimator whose result is compared with y; of ``predict_proba`` the second class.

    Returns:
        task label -> value; for an X that all tasks share, the labels are 0, ..., T - 1. Tasks without a label in y are
        left out.

    Raises:
        DataError: shapes that do not fit together.

    Example:
        >>> import numpy as np
        >>> from sklearn.linear_model import LinearRegression
        >>> from sklearn.metrics import mean_absolute_error
        >>> X, y = np.array([[0, 1.0], [0, 2.0], [1, 1.0], [1, 2.0]]), np.array([1.0, 2.0, 4.0, 5.0])
        >>> model = LinearRegression().fit(X[:, 1:], y)
        >>> class Pooled:
        ...     def predict(self, X):
        ...         return model.predict(X[:, 1:])
        >>> task_scores(Pooled(), X, y=y, metric=mean_absolute_error, task_feature=0)
        {0: 1.5, 1: 1.5}
    """
    chosen = getattr(estimator, "task_feature", None) if task_feature is None else task_feature
    found: dict[Any, float] = {}
    predicted = _response(estimator, X, response=response, n_axes=np.ndim(y))
    for label, true, guessed in _by_task(predicted, X, y=y, task_feature=chosen):
        found[label] = float(metric(true, guessed))
    return found


def make_task_scorer(
    metric: Metric,
    *,
    task_feature: TaskFeature | None,
    average: Literal["macro", "micro"] = "macro",
    greater_is_better: bool = True,
    response: Response = "predict",
) -> TaskScorer:
    """Make a scorer for ``GridSearchCV(scoring=...)`` and ``cross_val_score`` that sees the tasks.

    Args:
        metric: function of true and predicted values.
        task_feature: position or name of the task column in X; None: one column of y per task.
        average: ``"macro"`` (default), the mean of the values of the tasks; ``"micro"``, the value of all rows
            together.
        greater_is_better: False for errors; their sign is changed, since searches look for the largest score.
        response: method of the estimator whose result is compared with y; of ``predict_proba`` the second class.

    Returns:
        an object to call with (estimator, X, y); it can be pickled if the metric can.

    Example:
        >>> from sklearn.metrics import mean_squared_error
        >>> make_task_scorer(mean_squared_error, task_feature=0, greater_is_better=False)
        TaskScorer(mean_squared_error, task_feature=0, average='macro', greater_is_better=False, response='predict')
    """
    return TaskScorer(
        metric, task_feature=task_feature, average=average, greater_is_better=greater_is_better, response=response
    )


class TaskScorer:
    """What :func:`make_task_scorer` returns.

    Example:
        >>> TaskScorer(max, task_feature=0).average
        'macro'
    """

    def __init__(
        self,
        metric: Metric,
        *,
        task_feature: TaskFeature | None,
        average: Literal["macro", "micro"] = "macro",
        greater_is_better: bool = True,
        response: Response = "predict",
    ) -> None:
        if average not in ("macro", "micro"):
            raise DataError(f'average={average!r}; expected "macro" (mean over tasks) or "micro" (all rows together)')
        check_flag("greater_is_better", greater_is_better)
        self.metric = metric
        self.task_feature = task_feature
        self.average = average
        self.greater_is_better = greater_is_better
        self.response = response

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        predicted = _response(estimator, X, response=self.response, n_axes=np.ndim(y))
        by_task = list(_by_task(predicted, X, y=y, task_feature=self.task_feature))
        sign = 1.0 if self.greater_is_better else -1.0
        if self.average == "micro":
            true, all_predicted = (np.concatenate([one[place] for one in by_task]) for place in (1, 2))
            return sign * float(self.metric(true, all_predicted))
        values = np.array([self.metric(true, guessed) for _, true, guessed in by_task], dtype=np.float64)
        undefined = np.isnan(values)
        if undefined.any() and not undefined.all():
            labels = [label for (label, _, _), is_undefined in zip(by_task, undefined, strict=True) if is_undefined]
            warnings.warn(
                f"the metric is undefined for the tasks {show_labels(labels)}; the mean leaves them out",
                UserWarning,
                stacklevel=2,
            )
        return sign * float(np.nanmean(values) if not undefined.all() else np.nan)

    def __repr__(self) -> str:
        return (
            f"TaskScorer({getattr(self.metric, '__name__', self.metric)}, task_feature={self.task_feature!r}, "
            f"average={self.average!r}, greater_is_better={self.greater_is_better}, response={self.response!r})"
        )


def _response(estimator: Any, X: Any, *, response: Response, n_axes: int) -> NDArray[Any]:
    """Predictions shaped as y; of probabilities of two classes, those of the second."""
    predicted = getattr(estimator, response)(X)
    if isinstance(predicted, list):  # one table of probabilities per task
        return np.stack([one[:, 1] for one in predicted], axis=1)
    predicted = np.asarray(predicted)
    return predicted[:, 1] if n_axes == 1 and predicted.ndim == 2 and response == "predict_proba" else predicted


def _by_task(
    predicted: NDArray[Any], X: Any, *, y: Any, task_feature: TaskFeature | None
) -> list[tuple[Any, NDArray[Any], NDArray[Any]]]:
    """Label, true and predicted values of every task that has labels."""
    true = np.asarray(y)
    if predicted.shape != true.shape:
        raise DataError(f"y has shape {true.shape} and the predictions have {predicted.shape}; expected the same shape")
    if task_feature is not None:
        labels = take_column(X, task_feature)[1]
        return [(label.item(), true[labels == label], predicted[labels == label]) for label in np.unique(labels)]
    columns = true.reshape(len(true), -1)
    is_missing = np.isnan(columns) if columns.dtype.kind == "f" else np.zeros(columns.shape, dtype=bool)
    guesses = predicted.reshape(len(true), -1)
    return [
        (task, columns[~is_missing[:, task], task], guesses[~is_missing[:, task], task])
        for task in range(columns.shape[1])
        if not is_missing[:, task].all()
    ]
