"""Which metrics a kind of task has when none are given; the first is the main one."""

from __future__ import annotations

from functools import singledispatch

from taskloom.errors import TaskError
from taskloom.metrics.base import Metric
from taskloom.metrics.classification import Accuracy, AreaUnderCurve, LogLoss
from taskloom.metrics.regression import MeanAbsoluteError, RootMeanSquaredError, RSquared
from taskloom.task import Binary, Kind, Multiclass, Regression

__all__ = ["default_metrics"]


@singledispatch
def default_metrics(kind: Kind) -> tuple[Metric, ...]:
    """Metrics of a kind of task, the main one first.

    Numbers: RMSE, R2, MAE. Two classes: log loss, accuracy, AUROC. More classes: log loss, accuracy. A new kind joins
    with ``default_metrics.register(MyKind, lambda kind: (MyMetric(),))``.

    Args:
        kind: kind of the task.

    Returns:
        the metrics; the first is the one that verdicts are about.

    Raises:
        TaskError: no metrics are registered for this kind.

    Example:
        >>> [metric.name for metric in default_metrics(Regression())]
        ['RMSE', 'R2', 'MAE']
    """
    raise TaskError(
        f"no metrics are registered for the kind {kind!r}; expected a kind with default metrics. Give the task "
        f"metrics, Task(..., metrics=(...,)), or register them: "
        f"default_metrics.register({type(kind).__name__}, lambda kind: (...,))."
    )


@default_metrics.register
def _(kind: Regression) -> tuple[Metric, ...]:
    return (RootMeanSquaredError(), RSquared(), MeanAbsoluteError())


@default_metrics.register
def _(kind: Binary) -> tuple[Metric, ...]:
    return (LogLoss(), Accuracy(), AreaUnderCurve())


@default_metrics.register
def _(kind: Multiclass) -> tuple[Metric, ...]:
    return (LogLoss(), Accuracy())
