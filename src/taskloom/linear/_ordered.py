"""Estimators of tasks in an order: points in time, steps of a scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskloom.errors import DataError
from taskloom.linear._coupled import CoupledModel
from taskloom.regularised.data import Solution, TaskData
from taskloom.task_column import TaskRows

__all__ = ["OrderedModel"]


class OrderedModel(CoupledModel):
    """A linear estimator whose penalty sees the tasks in their order: sorted, or as ``order`` says."""

    order: Any

    def _fit(self, rows: TaskRows, data: TaskData) -> Solution:
        self._places = _places(self.order, rows.tasks)
        return super()._fit(rows, data)

    def _solve(self, data: TaskData, penalty: Any, start: Solution | None) -> Solution:
        places = self._places
        ordered = TaskData(
            tuple(data.designs[place] for place in places),
            tuple(data.targets[place] for place in places),
            tuple(data.weights[place] for place in places),
            data.fit_intercept,
        )
        begin = None if start is None else _taken(start, places)
        return _taken(self._solve_ordered(ordered, penalty, begin), np.argsort(places))

    def _solve_ordered(self, data: TaskData, penalty: Any, start: Solution | None) -> Solution:
        """Minimise risk plus penalty, for tasks in their order."""
        return super()._solve(data, penalty, start)


def _taken(solution: Solution, places: NDArray[np.intp]) -> Solution:
    parts = tuple(part[:, places] for part in solution.parts)
    return replace(solution, parts=parts, intercepts=solution.intercepts[places])


def _places(order: Any, tasks: NDArray[Any]) -> NDArray[np.intp]:
    """Where the first, the second, ... task of the order is among the sorted tasks."""
    if order is None:
        return np.arange(len(tasks))
    given = np.asarray(order)
    places = {task: place for place, task in enumerate(tasks.tolist())}
    named = given.ravel().tolist()
    if given.ndim != 1 or len(set(named)) != len(named) or set(named) != set(places):
        raise DataError(
            f"order={order!r}; expected each of the tasks {tasks.tolist()} once, the first of the order first"
        )
    return np.array([places[task] for task in named], dtype=np.intp)
