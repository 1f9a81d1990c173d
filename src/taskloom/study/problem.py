"""One replication of a comparison: the data under one seed's split, prepared by its training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from taskloom.data.prepare import Preparation
from taskloom.data.split import Splitter
from taskloom.data.table import MultiTaskData
from taskloom.data.tensors import TaskTensors
from taskloom.fit.training import Objective
from taskloom.metrics import Metric, default_metrics
from taskloom.nn.model import MultiTaskModel
from taskloom.study.candidate import Fitted
from taskloom.task import Task

__all__ = ["Problem", "metrics_of"]


class Problem:
    """Data, split and preparation of one seed, with everything candidates share.

    Args:
        data: the data set.
        splitter: how it is split.
        seed: the replication; splits, initial weights and row orders follow it.
        main: tasks that count for the score; empty: all that are not auxiliary.
        dtype: floating point type of the tensors; default float32.
    """

    def __init__(
        self,
        data: MultiTaskData,
        splitter: Splitter,
        seed: int,
        *,
        main: Sequence[str] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.data = data
        self.splitter = splitter
        self.seed = seed
        self.main = tuple(main)
        self.split = splitter.split(data, seed)
        self.preparation = Preparation.fit(data, self.split.train)
        tensors = TaskTensors.prepared(data, self.preparation, self.split, dtype=dtype)
        self.tensors = replace(tensors, inputs=tensors.inputs.flatten(1))  # the catalogue's networks take rows
        self._singles: dict[tuple[str, ...], tuple[TaskTensors, Objective]] = {}

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The K tasks."""
        return self.data.tasks

    @property
    def n_inputs(self) -> int:
        """Number of prepared input columns."""
        return int(self.tensors.inputs.shape[1])

    @property
    def scored(self) -> tuple[str, ...]:
        """Tasks that count for the score: the main ones, else all that are not auxiliary."""
        return self.main or tuple(task.name for task in self.tasks if not task.auxiliary)

    @cached_property
    def objective(self) -> Objective:
        """Validation score over all tasks that count."""
        return Objective.of(self.tensors, main=self.main)

    def of(self, names: Sequence[str]) -> tuple[TaskTensors, Objective]:
        """Tensors and objective of some of the tasks, the same objects for equal names.

        Every one of these tasks counts in the objective: a network that is trained for them alone is stopped by them.
        """
        key = tuple(names)
        if key not in self._singles:
            tensors = self.tensors.only(key)
            self._singles[key] = (tensors, Objective.of(tensors, main=key))
        return self._singles[key]

    def rows(self, task: str, part: str) -> np.ndarray:
        """Rows of a part whose target of this task is known."""
        rows: np.ndarray = getattr(self.split, part)
        known: np.ndarray = rows[self.data.mask[task][rows]]
        return known

    def outputs(self, model: MultiTaskModel, part: str) -> dict[str, np.ndarray]:
        """Raw outputs of a network for the known rows of a part, (n, n_outputs) per task."""
        rows = {name: self.rows(name, part) for name in model.tasks}
        with torch.no_grad():
            if self.tensors.per_task and len(model.tasks) > 1:
                given = {name: self._inputs(own) for name, own in rows.items() if len(own)}
                outputs = model(given)
                kinds = {task.name: task.kind for task in self.tasks}
                return {
                    name: _numpy(outputs[name]) if name in outputs else np.zeros((0, kinds[name].n_outputs))
                    for name in model.tasks
                }
            every = np.unique(np.concatenate(list(rows.values())))
            outputs = model(self._inputs(every))
            return {name: _numpy(outputs[name])[np.searchsorted(every, own)] for name, own in rows.items()}

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Prepared inputs of rows as an estimator takes them, float64 (n, n_inputs)."""
        found: np.ndarray = self._inputs(rows).double().numpy()
        return found

    def answers(self, fitted: Fitted, part: str) -> Mapping[str, np.ndarray]:
        """Raw outputs of a fitted predictor for the known rows of a part, (n, n_outputs) per task."""
        rows = {name: self.rows(name, part) for name in fitted.tasks}
        every = np.unique(np.concatenate(list(rows.values())))
        places = {name: np.searchsorted(every, own) for name, own in rows.items()}
        return fitted.outputs(self.values(every), places)

    def _inputs(self, rows: np.ndarray) -> Tensor:
        return self.tensors.inputs[torch.from_numpy(rows)]

    def relative_loss(self, task: str, outputs: np.ndarray, part: str) -> float:
        """Loss of raw outputs over that of the best constant: what the validation score averages."""
        column = [one.name for one in self.tasks].index(task)
        rows = torch.from_numpy(self.rows(task, part))
        target = self.tensors.targets[rows, column].double()
        if self.tasks[column].kind.n_classes:
            target = target.long()
        _, objective = self.of((task,))
        mask = {task: torch.ones(len(rows), dtype=torch.bool)}
        losses = objective.losses({task: torch.from_numpy(outputs).double()}, {task: target}, mask)
        return float(losses[0] / objective.constants[0])

    def metrics(self, task: Task, outputs: np.ndarray, part: str) -> dict[str, float]:
        """Every metric of a task from raw outputs for the known rows of a part, in the user's units."""
        rows = self.rows(task.name, part)
        if not len(rows):
            return {metric.name: float("nan") for metric in metrics_of(task)}
        predictions = self.preparation.restore(task.name, task.kind.predict(outputs))
        target = self.data.targets[task.name][rows]
        return {metric.name: float(metric(predictions, target)) for metric in metrics_of(task)}


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The task's own metrics, or those of its kind; the first is the main one."""
    return task.metrics or default_metrics(task.kind)


def _numpy(outputs: Tensor) -> np.ndarray:
    values: np.ndarray = outputs.detach().double().cpu().numpy()
    return values
