"""Learn all tasks together in one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taskloom._rng import initial_weights
from taskloom.balance.base import Balancer
from taskloom.data.table import MultiTaskData
from taskloom.fit.training import Training
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

__all__ = ["Together"]


@dataclass(frozen=True)
class Together:
    """One network for all tasks: an architecture and a balancer.

    Args:
        model: builds the architecture for a shape; called under the seed's stream of initial weights.
        balancer: builds the balancer for the problem and the settings.
        extra: hyperparameters beside learning rate, weight decay and width; may depend on the data.
        needs: says why the architecture does not fit a data set, or None.
    """

    model: Callable[[Shape], MultiTaskModel]
    balancer: Callable[[Problem, Settings], Balancer]
    extra: Callable[[MultiTaskData], Sequence[Parameter]] | None = None
    needs: Callable[[MultiTaskData], str | None] | None = None

    def reason_against(self, data: MultiTaskData) -> str | None:
        """One task cannot be learned together with others; the architecture may have conditions of its own."""
        if len(data.tasks) < 2:
            return "there is only one task"
        return self.needs(data) if self.needs is not None else None

    def space(self, data: MultiTaskData) -> Sequence[Parameter]:
        """The networks' space and the candidate's own hyperparameters."""
        return [*network_space(data), *(self.extra(data) if self.extra is not None else ())]

    def build(self, shape: Shape) -> MultiTaskModel:
        """The network of a shape, for training and for loading stored weights."""
        return self.model(shape)

    def learn(self, problem: Problem, settings: Settings) -> Learning:
        """One training."""
        shape = Shape(problem.tasks, problem.n_inputs, settings)
        with initial_weights(problem.seed):
            model = self.build(shape)
        measures = next(iter(model.shared_parameters()), None) is not None
        training = Training(
            model,
            self.balancer(problem, settings),
            problem.tensors,
            problem.objective,
            optimiser=optimiser_settings(settings),
            schedule=schedule_for(len(problem.tasks), measures=measures),
            seed=problem.seed,
        )
        (result,) = yield [training]
        return [learned_network(problem, result)]
