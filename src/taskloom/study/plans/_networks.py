"""What the plans of networks have in common: sizes, the search space, the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from taskloom.data.table import MultiTaskData
from taskloom.fit.result import FitResult
from taskloom.fit.training import OptimiserSettings, Schedule
from taskloom.nn import MLP
from taskloom.study.candidate import Learned
from taskloom.study.problem import Problem
from taskloom.study.space import Choice, LogRange, Parameter, Settings
from taskloom.task import Task

__all__ = ["Shape", "learned_network", "network_space", "optimiser_settings", "schedule_for"]


@dataclass(frozen=True)
class Shape:
    """What a network must fit, and how wide it is.

    Args:
        tasks: the tasks.
        n_inputs: number of input columns.
        settings: hyperparameters of the trial; ``"width"`` is the number of units of every hidden layer.

    Example:
        >>> Shape((), 3, {"width": 8}).encoder().out_features
        8
    """

    tasks: tuple[Task, ...]
    n_inputs: int
    settings: Settings

    @property
    def width(self) -> int:
        """Units of a hidden layer."""
        return int(self.settings["width"])

    def encoder(self, depth: int = 2, *, n_inputs: int | None = None) -> MLP:
        """A fresh multilayer perceptron of ``depth`` hidden layers."""
        return MLP(self.n_inputs if n_inputs is None else n_inputs, hidden=(self.width,) * depth)


def rows_per_network(data: MultiTaskData) -> float:
    """Typical number of labelled rows of a task."""
    return float(np.median([int(data.mask[task.name].sum()) for task in data.tasks]))


def network_space(data: MultiTaskData) -> list[Parameter]:
    """Learning rate, weight decay and width; small data sets get narrow networks.

    The bounds are our choice: two decades around AdamW's defaults, and widths at which a network of two hidden layers
    has about as many parameters as a table of this size can use.
    """
    widths = (16, 32, 64) if rows_per_network(data) < 500 else (32, 64, 128)
    return [
        Choice("width", widths, default=widths[1], structural=True),
        LogRange("learning_rate", 3e-4, 2e-2, default=3e-3),
        LogRange("weight_decay", 1e-4, 1.0, default=1e-2),
    ]


def optimiser_settings(settings: Settings) -> OptimiserSettings:
    """AdamW's settings of a trial."""
    return OptimiserSettings(
        learning_rate=float(settings["learning_rate"]), weight_decay=float(settings["weight_decay"])
    )


def schedule_for(n_tasks: int, *, measures: bool) -> Schedule:
    """The schedule of every network of a comparison: at most 60 epochs, patience 8.

    Conflicts are measured once an epoch; with many tasks, where a measurement costs as much as many steps, every
    tenth.
    """
    every = 0 if not measures else 1 if n_tasks <= 16 else 10
    return Schedule(max_epochs=60, patience=8, measure_every=every)


def learned_network(problem: Problem, result: FitResult, *, tasks: Sequence[str] | None = None) -> Learned:
    """A trained network as a predictor of its tasks."""
    names = tuple(tasks) if tasks is not None else tuple(result.skeleton.tasks)
    return Learned(
        tasks=names,
        score=result.validation_score,
        outputs=lambda part: problem.outputs(result.model, part),
        parameters=result.n_parameters,
        seconds=result.seconds,
        fit=result,
    )
