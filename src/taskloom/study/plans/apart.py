"""Learn every task by a network of its own: no sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskloom._rng import initial_weights
from taskloom.balance.reduce.sum import equal
from taskloom.data.table import MultiTaskData
from taskloom.fit.training import Training
from taskloom.nn import HardSharing
from taskloom.nn.model import MultiTaskModel
from taskloom.study.candidate import Learning
from taskloom.study.plans._networks import (
    Shape,
    learned_network,
    network_space,
    optimiser_settings,
    schedule_for,
)
from taskloom.study.problem import Problem
from taskloom.study.space import Parameter, Settings

__all__ = ["Apart"]


@dataclass(frozen=True)
class Apart:
    """One network per task. Trials compete per task: every task gets the setting that is best for it."""

    def reason_against(self, data: MultiTaskData) -> str | None:
        """Always possible."""
        return None

    def space(self, data: MultiTaskData) -> Sequence[Parameter]:
        """The networks' space."""
        return network_space(data)

    def build(self, shape: Shape) -> MultiTaskModel:
        """The network of one task."""
        return HardSharing(shape.encoder(), shape.tasks)

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """One training per task, each stopped by its own validation score."""
        trainings = []
        for task in problem.tasks:
            tensors, objective = problem.of((task.name,))
            with initial_weights(problem.seed):
                model = self.build(Shape((task,), problem.n_inputs, settings))
            trainings.append(
                Training(
                    model,
                    equal(),
                    tensors,
                    objective,
                    optimiser=optimiser_settings(settings),
                    schedule=schedule_for(1, measures=False),
                    seed=problem.seed,
                )
            )
        results = yield trainings
        return [learned_network(problem, result) for result in results]
