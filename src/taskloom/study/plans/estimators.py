"""Baselines that need no network: independent linear models and boosted trees from scikit-learn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from taskloom.data.table import MultiTaskData
from taskloom.study.candidate import Learned, Learning
from taskloom.study.plans._fitted import FittedAlone, FittedPooled, constant_logits, with_task
from taskloom.study.problem import Problem
from taskloom.study.space import Choice, LogRange, Parameter, Settings
from taskloom.task import Kind

__all__ = ["BoostedTrees", "Estimators", "LinearModel"]


class EstimatorFamily(Protocol):
    """A scikit-learn estimator for each kind of task."""

    def space(self) -> Sequence[Parameter]:
        """Hyperparameters."""
        ...

    def make(self, kind: Kind, settings: Settings, seed: int) -> Any:
        """A fresh estimator for a kind."""
        ...

    def n_parameters(self, estimator: Any) -> int:
        """Fitted parameters; 0 when that means nothing."""
        ...


@dataclass(frozen=True)
class LinearModel:
    """Ridge regression, and logistic regression with the same penalty.

    Example:
        >>> from taskloom.task import Regression
        >>> type(LinearModel().make(Regression(), {"penalty": 1.0}, 0)).__name__
        'Ridge'
    """

    def space(self) -> Sequence[Parameter]:
        """Strength of the L2 penalty on standardised inputs."""
        return [LogRange("penalty", 1e-3, 1e4, default=1.0)]

    def make(self, kind: Kind, settings: Settings, seed: int) -> Any:
        """Ridge or logistic regression."""
        from sklearn.linear_model import LogisticRegression, Ridge

        penalty = float(settings["penalty"])
        return LogisticRegression(C=1.0 / penalty, max_iter=2000) if kind.n_classes else Ridge(alpha=penalty)

    def n_parameters(self, estimator: Any) -> int:
        """Coefficients and intercepts."""
        return int(np.size(estimator.coef_) + np.size(estimator.intercept_)) if hasattr(estimator, "coef_") else 0


@dataclass(frozen=True)
class BoostedTrees:
    """Histogram gradient boosting.

    Example:
        >>> from taskloom.task import Binary
        >>> type(BoostedTrees().make(Binary(), default_settings_of_trees(), 0)).__name__
        'HistGradientBoostingClassifier'
    """

    def space(self) -> Sequence[Parameter]:
        """Learning rate, size of the trees, their number, penalty."""
        return [
            LogRange("learning_rate", 0.03, 0.3, default=0.1),
            Choice("leaves", (7, 15, 31), default=15),
            Choice("trees", (30, 60, 120), default=60),
            LogRange("penalty", 1e-3, 10.0, default=1.0),
        ]

    def make(self, kind: Kind, settings: Settings, seed: int) -> Any:
        """A boosting regressor or classifier."""
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        boosting = HistGradientBoostingClassifier if kind.n_classes else HistGradientBoostingRegressor
        return boosting(
            learning_rate=float(settings["learning_rate"]),
            max_leaf_nodes=int(settings["leaves"]),
            max_iter=int(settings["trees"]),
            l2_regularization=float(settings["penalty"]),
            early_stopping=False,
            random_state=seed,
        )

    def n_parameters(self, estimator: Any) -> int:
        """Trees have no parameters in the sense of a network."""
        return 0


def default_settings_of_trees() -> dict[str, float | int | str]:
    """The settings a search over boosted trees starts with."""
    from taskloom.study.space import default_settings

    return default_settings(BoostedTrees().space())


@dataclass(frozen=True)
class Estimators:
    """One estimator per task, or one for all tasks with the task as an input column.

    Args:
        family: which estimators.
        pooled: one estimator for all tasks (several data sets of one kind); default one per task.
        largest_apart: number of tasks beyond which one estimator per task is too slow to tune; default unlimited.
    """

    family: EstimatorFamily
    pooled: bool = False
    largest_apart: int | None = None

    def reason_against(self, data: MultiTaskData) -> str | None:
        """Pooling needs several data sets of one kind."""
        if self.pooled:
            return reason_against_pooling(data)
        if self.largest_apart is not None and len(data.tasks) > self.largest_apart:
            return f"one estimator for each of {len(data.tasks)} tasks is too slow to tune; the pooled form is there"
        return None

    def space(self, data: MultiTaskData) -> Sequence[Parameter]:
        """The family's space."""
        return self.family.space()

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """Fit at once; there is nothing to train in batches."""
        yield from ()
        if self.pooled:
            return [self._pooled(problem, settings)]
        return [self._one(problem, settings, task.name) for task in problem.tasks]

    def _one(self, problem: Problem, settings: Settings, name: str) -> Learned:
        column = [task.name for task in problem.tasks].index(name)
        kind = problem.tasks[column].kind
        start = time.perf_counter()
        rows = problem.rows(name, "train")
        target = problem.tensors.targets[rows, column].double().numpy()
        estimator, constant = _fit(self.family.make(kind, settings, problem.seed), kind, problem.values(rows), target)
        return self._learned(FittedAlone(name, kind, estimator, constant), problem, time.perf_counter() - start)

    def _pooled(self, problem: Problem, settings: Settings) -> Learned:
        kind = problem.tasks[0].kind
        names = tuple(task.name for task in problem.tasks)
        ids = problem.tensors.task_ids
        assert ids is not None  # `reason_against` has checked the layout
        start = time.perf_counter()
        rows = np.concatenate([problem.rows(name, "train") for name in names])
        places = ids[rows]
        target = problem.tensors.targets[rows, places].double().numpy()
        inputs = with_task(problem.values(rows), places, len(names))
        estimator, constant = _fit(self.family.make(kind, settings, problem.seed), kind, inputs, target)
        return self._learned(FittedPooled(names, kind, estimator, constant), problem, time.perf_counter() - start)

    def _learned(self, fitted: FittedAlone | FittedPooled, problem: Problem, seconds: float) -> Learned:
        outputs = {part: problem.answers(fitted, part) for part in ("validation", "test")}
        counted = [name for name in fitted.tasks if name in problem.scored] or fitted.tasks
        losses = [problem.relative_loss(name, outputs["validation"][name], "validation") for name in counted]
        return Learned(
            fitted.tasks,
            float(np.nanmean(losses)) if len(losses) > 1 else losses[0],
            lambda part: outputs[part],
            parameters=self.family.n_parameters(fitted.estimator),
            seconds=seconds,
            fitted=fitted,
        )


def reason_against_pooling(data: MultiTaskData) -> str | None:
    """Why one predictor for all tasks makes no sense for a data set; None if it does."""
    if len(data.tasks) < 2:
        return "there is only one task"
    if data.layout != "multi_data_set":
        return "the tasks are different targets of the same rows, so one output cannot serve them all"
    if not data.common_target or len({task.kind for task in data.tasks}) > 1:
        return "the tasks are of different kinds, so one output cannot serve them all"
    return None


def _fit(estimator: Any, kind: Kind, inputs: np.ndarray, target: np.ndarray) -> tuple[Any, np.ndarray | None]:
    """The fitted estimator, or raw outputs that stand in: with one class in the rows no classifier can be fitted.

    One thread: the thread pools of torch and of scikit-learn wait for each other on tables of this size.
    """
    with threadpool_limits(1):
        if not kind.n_classes:
            return estimator.fit(inputs, target), None
        labels = target.astype(np.int64)
        if len(np.unique(labels)) == 1:
            return None, constant_logits(labels, kind)
        return estimator.fit(inputs, labels), None
