"""Fitted estimators in the form of a network: what answers tasks for prepared inputs, and can be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from taskloom.task import Kind

__all__ = ["FittedAlone", "FittedPooled", "FittedTogether", "constant_logits", "logits_of", "numbered", "with_task"]

Rows = Mapping[str, np.ndarray]


def logits_of(probabilities: np.ndarray, kind: Kind) -> np.ndarray:
    """Probabilities (..., n_classes) as raw outputs; bounded away from 0 so that a miss costs a finite amount."""
    logs: np.ndarray = np.log(np.clip(probabilities, 1e-6, 1.0))
    if kind.n_outputs == 1:
        logs = logs[..., 1:] - logs[..., :1]
    return logs


def constant_logits(labels: np.ndarray, kind: Kind) -> np.ndarray:
    """Raw outputs (n_outputs,) of the shares of the classes, each class seen half a time more.

    Args:
        labels: classes of the training rows, integers (n,).
        kind: of the task.
    """
    shares = np.bincount(labels, minlength=kind.n_classes) + 0.5
    return logits_of(shares / shares.sum(), kind)


def with_task(inputs: np.ndarray, places: np.ndarray, n_tasks: int) -> np.ndarray:
    """Inputs and one column per task, which is 1 where the row belongs to it.

    Args:
        inputs: (n, d).
        places: place of each row's task, (n,).
        n_tasks: number of tasks.
    """
    return np.concatenate([inputs, np.eye(n_tasks)[places]], axis=1)


def numbered(inputs: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several tasks below one another, the number of the task first.

    Args:
        inputs: (N, d).
        rows: which of them each task has, int (n_k,) each.
    """
    numbers = np.repeat(np.arange(len(rows), dtype=np.float64), [len(own) for own in rows])
    return np.column_stack([numbers, inputs[np.concatenate(rows)]])


@dataclass(frozen=True, eq=False)
class FittedAlone:
    """One task's own estimator; a constant where its training rows have one class.

    Args:
        task: its name.
        kind: its kind.
        estimator: fitted by scikit-learn's rules; None where a constant stands in.
        constant: raw outputs (n_outputs,) then.
    """

    task: str
    kind: Kind
    estimator: Any
    constant: np.ndarray | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The one task."""
        return (self.task,)

    def outputs(self, inputs: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """As :meth:`taskloom.study.candidate.Fitted.outputs`."""
        own = inputs[rows[self.task]]
        if self.constant is not None:
            return {self.task: np.broadcast_to(self.constant, (len(own), self.kind.n_outputs)).copy()}
        return {self.task: _outputs(self.estimator, self.kind, own)}


@dataclass(frozen=True, eq=False)
class FittedPooled:
    """One estimator for all tasks of one kind, with the task as input columns.

    Args:
        tasks: their names, in the order of the columns.
        kind: of all of them.
        estimator: fitted on what :func:`with_task` gives.
        constant: raw outputs (n_outputs,) where all training rows have one class, else None.
    """

    tasks: tuple[str, ...]
    kind: Kind
    estimator: Any
    constant: np.ndarray | None = None

    def outputs(self, inputs: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """As :meth:`taskloom.study.candidate.Fitted.outputs`."""
        sizes = [len(rows[name]) for name in self.tasks]
        if self.constant is not None:
            every = np.broadcast_to(self.constant, (sum(sizes), self.kind.n_outputs)).copy()
        else:
            places = np.repeat(np.arange(len(self.tasks)), sizes)
            own = inputs[np.concatenate([rows[name] for name in self.tasks])]
            every = _outputs(self.estimator, self.kind, with_task(own, places, len(self.tasks)))
        return dict(zip(self.tasks, np.split(every, np.cumsum(sizes)[:-1]), strict=True))


@dataclass(frozen=True, eq=False)
class FittedTogether:
    """One estimator that was fitted on tasks of one kind together.

    Args:
        tasks: names of all tasks that it answers.
        fitted: names of those that the estimator knows, in its order.
        is_binary: whether they have two classes; numbers otherwise.
        task_feature: 0 where the estimator takes the number of the task first, None where tasks share their rows.
        estimator: fitted; None where it knows no task.
        constants: log odds of the other tasks, whose training rows have one class.
    """

    tasks: tuple[str, ...]
    fitted: tuple[str, ...]
    is_binary: bool
    task_feature: int | None
    estimator: Any
    constants: Mapping[str, float]

    def outputs(self, inputs: np.ndarray, rows: Rows) -> dict[str, np.ndarray]:
        """As :meth:`taskloom.study.candidate.Fitted.outputs`."""
        known = self._answers(inputs, [rows[name] for name in self.fitted])
        answers = {name: known[name] if name in known else self._constant(name, len(rows[name])) for name in self.tasks}
        return {name: answer.reshape(-1, 1) for name, answer in answers.items()}

    def _constant(self, name: str, n_rows: int) -> np.ndarray:
        return np.repeat(self.constants[name], n_rows)

    def _answers(self, inputs: np.ndarray, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        if not sum(map(len, rows)):
            return {name: np.zeros(0) for name in self.fitted}
        with threadpool_limits(1):
            if self.task_feature is not None:
                ends = np.cumsum([len(own) for own in rows])[:-1]
                return dict(zip(self.fitted, np.split(self._answer(numbered(inputs, rows)), ends), strict=True))
            every = np.unique(np.concatenate(rows))
            table = self._answer(inputs[every]).reshape(len(every), len(rows))
        return {
            name: table[np.searchsorted(every, own), column]
            for column, (name, own) in enumerate(zip(self.fitted, rows, strict=True))
        }

    def _answer(self, table: np.ndarray) -> np.ndarray:
        """Values, or log odds, also of classifiers that have probabilities only."""
        if hasattr(self.estimator, "decision_function"):
            return np.asarray(self.estimator.decision_function(table))
        if not self.is_binary:
            return np.asarray(self.estimator.predict(table))
        second = np.clip(np.asarray(self.estimator.predict_proba(table)), 1e-6, 1 - 1e-6)
        second = second[:, 1] if self.task_feature is not None else second
        odds: np.ndarray = np.log(second) - np.log1p(-second)
        return odds


def _outputs(estimator: Any, kind: Kind, inputs: np.ndarray) -> np.ndarray:
    """Raw outputs (n, n_outputs): values, or logits."""
    if not len(inputs):
        return np.zeros((0, kind.n_outputs))
    with threadpool_limits(1):
        if not kind.n_classes:
            return np.asarray(estimator.predict(inputs), dtype=np.float64).reshape(-1, 1)
        known = np.asarray(estimator.classes_, dtype=np.int64)
        probabilities = np.full((len(inputs), kind.n_classes), 0.0)
        probabilities[:, known] = estimator.predict_proba(inputs)
    return logits_of(probabilities, kind)
