"""Learn the other tasks first, then fine-tune on the target: sequential transfer, beside the parallel forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from taskloom._rng import initial_weights
from taskloom.balance.reduce.sum import equal
from taskloom.data.table import MultiTaskData
from taskloom.fit.result import FitResult
from taskloom.fit.training import Training
from taskloom.nn import HardSharing
from taskloom.nn.model import MultiTaskModel
from taskloom.study.candidate import Learned, Learning
from taskloom.study.plans._networks import (
    Shape,
    learned_network,
    network_space,
    optimiser_settings,
    schedule_for,
)
from taskloom.study.problem import Problem
from taskloom.study.space import LogRange, Parameter, Settings

__all__ = ["Transfer"]


@dataclass(frozen=True)
class Transfer:
    """Train a hard-sharing network on the other tasks, then fine-tune its encoder with a fresh head on the target.

    With up to ``largest_exact`` tasks the sources of a target are all other tasks. With more, tasks are dealt into
    ``folds`` groups, and the sources of a target are the tasks of the other groups: ``folds`` source networks instead
    of one per task.

    Args:
        largest_exact: number of tasks up to which every target has a source network of its own; default 6.
        folds: number of groups beyond it; default 4.
    """

    largest_exact: int = 6
    folds: int = 4

    def reason_against(self, data: MultiTaskData) -> str | None:
        """There must be another task to transfer from."""
        return "there is only one task" if len(data.tasks) < 2 else None

    def space(self, data: MultiTaskData) -> Sequence[Parameter]:
        """The networks' space, and how much smaller the learning rate of the fine-tuning is."""
        return [*network_space(data), LogRange("fine_tune_factor", 0.03, 1.0, default=0.3)]

    def build(self, shape: Shape) -> MultiTaskModel:
        """The network of one target, or of its sources."""
        return HardSharing(shape.encoder(), shape.tasks)

    def sources(self, problem: Problem) -> dict[str, tuple[str, ...]]:
        """Source tasks of every target."""
        names = [task.name for task in problem.tasks]
        if len(names) <= self.largest_exact:
            return {name: tuple(other for other in names if other != name) for name in names}
        return {
            name: tuple(other for place, other in enumerate(names) if place % self.folds != position % self.folds)
            for position, name in enumerate(names)
        }

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """Two stages: source networks, then one fine-tuned network per task."""
        sources = self.sources(problem)
        distinct = list(dict.fromkeys(sources.values()))
        results = yield [self._training(problem, settings, names) for names in distinct]
        source_of = dict(zip(distinct, results, strict=True))
        factor = float(settings["fine_tune_factor"])
        fine = [
            self._training(problem, settings, (name,), start=source_of[sources[name]], factor=factor)
            for name in sources
        ]
        tuned = yield fine
        return [
            self._with_source_time(learned_network(problem, result), source_of[sources[name]], sources, name)
            for name, result in zip(sources, tuned, strict=True)
        ]

    @staticmethod
    def _with_source_time(
        learned: Learned, source: FitResult, sources: dict[str, tuple[str, ...]], name: str
    ) -> Learned:
        users = sum(1 for names in sources.values() if names == sources[name])
        return replace(learned, seconds=learned.seconds + source.seconds / users)

    def _training(
        self,
        problem: Problem,
        settings: Settings,
        names: tuple[str, ...],
        *,
        start: FitResult | None = None,
        factor: float = 1.0,
    ) -> Training:
        tensors, objective = problem.of(names)
        with initial_weights(problem.seed):
            model = self.build(Shape(tensors.tasks, problem.n_inputs, settings))
        if start is not None:
            encoder = {
                name.removeprefix("encoder."): value
                for name, value in start.state.items()
                if name.startswith("encoder.")
            }
            with torch.no_grad():
                model.get_submodule("encoder").load_state_dict(encoder)
        optimiser = optimiser_settings(settings)
        return Training(
            model,
            equal(),
            tensors,
            objective,
            optimiser=replace(optimiser, learning_rate=optimiser.learning_rate * factor),
            schedule=schedule_for(len(names), measures=False),
            seed=problem.seed,
        )
