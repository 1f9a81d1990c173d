"""Estimators that learn several tasks together without a network: one fit for all tasks of one kind."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from taskloom.data.table import MultiTaskData
from taskloom.study.candidate import Learned, Learning
from taskloom.study.plans._fitted import FittedTogether, constant_logits, numbered
from taskloom.study.problem import Problem
from taskloom.study.space import LogRange, Parameter, Settings
from taskloom.task import Binary, Regression, Task

__all__ = ["Case", "TogetherEstimators", "strength_space"]


@dataclass(frozen=True)
class Case:
    """What an estimator is made for.

    Args:
        settings: hyperparameters.
        n_tasks: number of tasks that are fitted together.
        is_binary: whether they have two classes; numbers otherwise.
        task_feature: position of the task column, None where all tasks share the rows.
        seed: of the replication.

    Example:
        >>> Case({"strength": 0.1}, 3, is_binary=False, task_feature=None, seed=0).common
        {'task_feature': None}
    """

    settings: Settings
    n_tasks: int
    is_binary: bool
    task_feature: int | None
    seed: int

    @property
    def common(self) -> dict[str, Any]:
        """Arguments of every estimator."""
        return {"task_feature": self.task_feature}

    def number(self, name: str) -> float:
        """A setting as a number."""
        return float(self.settings[name])


Make = Callable[[Case], Any]


def strength_space(data: MultiTaskData) -> Sequence[Parameter]:
    """Strength of a penalty as a share of that at which all coefficients are zero."""
    return [LogRange("strength", 1e-3, 1.0, default=0.03)]


@dataclass(frozen=True)
class TogetherEstimators:
    """One estimator for all tasks of one kind: numbers together, and two classes together.

    Inputs and targets are prepared as for networks (standardised by the training rows). A task with one class in its
    training rows is left out of the fit and answered by the share of that class.

    Args:
        make: a fresh estimator for a case.
        tuned: hyperparameters.
        scaled: names of constructor parameters that are strengths of norms: they are multiplied by ``strength`` and by
            the number that would just make all coefficients zero, so that one range of settings fits all data.
        takes_classes: whether there is a twin for two classes.
        most_labels: number of known targets (of rows, where all tasks share them) up to which the method is offered.
        most_tasks: number of tasks up to which it is offered.
    """

    make: Make
    tuned: Callable[[MultiTaskData], Sequence[Parameter]] = strength_space
    scaled: tuple[str, ...] = ()
    takes_classes: bool = True
    most_labels: int | None = None
    most_tasks: int | None = None

    def reason_against(self, data: MultiTaskData) -> str | None:
        """Numbers and two classes only, at least two tasks of a kind, and not too many for slow methods."""
        for task in data.tasks:
            if not _is_number(task) and not _is_binary(task):
                return f"the task {task.name!r} has {task.kind.n_classes} classes; it takes numbers and two classes"
            if _is_binary(task) and not self.takes_classes:
                return f"the task {task.name!r} has classes; it takes numbers only"
        if all(len(group) < 2 for group in _groups(data.tasks)):
            return "there is only one task" if len(data.tasks) == 1 else "no two tasks are of the same kind"
        if self.most_tasks is not None and len(data.tasks) > self.most_tasks:
            return (
                f"its time grows too fast with the {len(data.tasks)} tasks; it is offered for up to {self.most_tasks}"
            )
        n_labels = _n_labels(data)
        if self.most_labels is not None and n_labels > self.most_labels:
            return f"its time grows too fast with the {n_labels} labels; it is offered for up to {self.most_labels}"
        return None

    def space(self, data: MultiTaskData) -> Sequence[Parameter]:
        """The method's hyperparameters."""
        return self.tuned(data)

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """Fit at once; there is nothing to train in batches."""
        yield from ()
        with threadpool_limits(1), warnings.catch_warnings():
            # a setting that does not converge is one that scores as it scores; the tuner tries many
            warnings.simplefilter("ignore")
            return [self._one(_Group(problem, group), settings) for group in _groups(problem.tasks) if group]

    def _one(self, group: _Group, settings: Settings) -> Learned:
        start = time.perf_counter()
        estimator = self._fit(group, settings) if group.names else None
        fitted = group.around(estimator)
        seconds = time.perf_counter() - start
        outputs = {part: group.problem.answers(fitted, part) for part in ("validation", "test")}
        return Learned(
            fitted.tasks,
            group.score(outputs["validation"]),
            lambda part: outputs[part],
            parameters=_n_parameters(estimator),
            seconds=seconds,
            fitted=fitted,
        )

    def _fit(self, group: _Group, settings: Settings) -> Any:
        case = Case(settings, len(group.names), group.is_binary, group.task_feature, group.problem.seed)
        estimator = self.make(case)
        inputs, targets = group.table
        if self.scaled:
            from taskloom.linear import largest_strength

            whole = case.number("strength") * largest_strength(estimator, inputs, y=targets)
            estimator.set_params(**{name: whole * getattr(estimator, name) for name in self.scaled})
        return estimator.fit(inputs, targets)


def _is_number(task: Task) -> bool:
    return isinstance(task.kind, Regression)


def _is_binary(task: Task) -> bool:
    return isinstance(task.kind, Binary)


def _groups(tasks: Sequence[Task]) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Tasks with numbers, and tasks with two classes."""
    return tuple(filter(_is_number, tasks)), tuple(filter(_is_binary, tasks))


def _n_labels(data: MultiTaskData) -> int:
    known = [int(data.mask[task.name].sum()) for task in data.tasks]
    return max(known) if data.layout == "multi_label" else sum(known)


class _Group:
    """The rows of tasks of one kind, as a table with a task column or with one column of targets per task."""

    def __init__(self, problem: Problem, tasks: tuple[Task, ...]) -> None:
        self.problem = problem
        self.tasks = tasks
        self.is_binary = _is_binary(tasks[0])
        self.task_feature = 0 if problem.data.layout == "multi_data_set" else None
        self._columns = {task.name: column for column, task in enumerate(problem.tasks)}
        self.names = tuple(task.name for task in tasks if not self.is_binary or self._has_both(task.name))

    def _targets(self, name: str) -> np.ndarray:
        rows = self.problem.rows(name, "train")
        found: np.ndarray = self.problem.tensors.targets[rows, self._columns[name]].double().numpy()
        return found

    def _has_both(self, name: str) -> bool:
        return len(np.unique(self._targets(name))) == 2

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the training rows, in the form of the layout."""
        rows = [self.problem.rows(name, "train") for name in self.names]
        if self.task_feature is not None:
            inputs = self.problem.values(np.arange(len(self.problem.tensors.inputs)))
            return numbered(inputs, rows), np.concatenate([self._targets(name) for name in self.names])
        every = np.unique(np.concatenate(rows))
        targets = np.full((len(every), len(rows)), np.nan)
        for column, (name, own) in enumerate(zip(self.names, rows, strict=True)):
            targets[np.searchsorted(every, own), column] = self._targets(name)
        return self.problem.values(every), targets

    def around(self, estimator: Any) -> FittedTogether:
        """The estimator with all that it takes to answer every task of the group."""
        return FittedTogether(
            tuple(task.name for task in self.tasks),
            self.names,
            self.is_binary,
            self.task_feature,
            estimator,
            {task.name: self._constant(task) for task in self.tasks if task.name not in self.names},
        )

    def _constant(self, task: Task) -> float:
        return float(constant_logits(self._targets(task.name).astype(np.int64), task.kind)[0])

    def score(self, outputs: Mapping[str, np.ndarray]) -> float:
        """Mean relative validation loss over the tasks that count, over all if none of these does."""
        names = [task.name for task in self.tasks]
        counted = [name for name in names if name in self.problem.scored] or names
        losses = [self.problem.relative_loss(name, outputs[name], "validation") for name in counted]
        return float(np.nanmean(losses))


def _n_parameters(estimator: Any) -> int:
    """Coefficients that are not zero, and intercepts; 0 for kernels, where that means nothing."""
    if estimator is None or not hasattr(estimator, "coef_"):
        return 0
    return int(np.count_nonzero(estimator.coef_) + np.size(estimator.intercept_))
