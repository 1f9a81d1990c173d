"""A candidate whose search space and length of training a benchmark says itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import taskloom as tl
from taskloom._rng import initial_weights
from taskloom.fit.training import Training
from taskloom.nn.model import MultiTaskModel
from taskloom.study.candidate import Learning
from taskloom.study.plans._networks import Shape, learned_network, optimiser_settings
from taskloom.study.problem import Problem
from taskloom.study.space import Parameter, Settings

__all__ = ["Alone", "Network", "candidate"]


@dataclass(frozen=True)
class Network:
    """One network for all tasks under equal weights.

    Args:
        model: builds the architecture for a shape.
        parameters: what is tuned; ``learning_rate`` and ``weight_decay`` among it.
        schedule: how long the network is trained.
    """

    model: Callable[[Shape], MultiTaskModel]
    parameters: tuple[Parameter, ...]
    schedule: tl.Schedule

    def reason_against(self, data: tl.MultiTaskData) -> str | None:
        """It fits the data of its benchmark."""
        return None

    def space(self, data: tl.MultiTaskData) -> Sequence[Parameter]:
        """What is tuned."""
        return self.parameters

    def build(self, shape: Shape) -> MultiTaskModel:
        """The network of a shape."""
        return self.model(shape)

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """One training."""
        results = yield [self.training(problem, settings)]
        return [learned_network(problem, result) for result in results]

    def training(self, problem: Problem, settings: Settings, names: Sequence[str] = ()) -> Training:
        """The training of all tasks, or of some."""
        tensors, objective = problem.of(names) if names else (problem.tensors, problem.objective)
        with initial_weights(problem.seed):
            model = self.build(Shape(tensors.tasks, problem.n_inputs, settings))
        return Training(
            model,
            tl.equal(),
            tensors,
            objective,
            optimiser=optimiser_settings(settings),
            schedule=self.schedule,
            seed=problem.seed,
        )


@dataclass(frozen=True)
class Alone(Network):
    """The same network once for every task, each stopped by its own validation score."""

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """One training per task."""
        results = yield [self.training(problem, settings, (task.name,)) for task in problem.tasks]
        return [learned_network(problem, result) for result in results]


def candidate(name: str, title: str, plan: Network) -> tl.Candidate:
    """A candidate of a benchmark."""
    family = "single" if isinstance(plan, Alone) else "joint"
    return tl.Candidate(name=name, title=title, summary=title, family=family, plan=plan)
