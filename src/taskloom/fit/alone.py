"""Training one network on its own."""

from __future__ import annotations

import copy

from taskloom.engine.base import GradientEngine
from taskloom.fit.module import MultiTaskModule
from taskloom.fit.phases import run_phases
from taskloom.fit.result import FitResult
from taskloom.fit.trainer import TensorBatches, TrainerOptions, ValidationBatch
from taskloom.fit.training import Training

__all__ = ["train_with_trainer"]


def train_with_trainer(
    training: Training, *, options: TrainerOptions | None = None, engine: GradientEngine | None = None
) -> FitResult:
    """Train one network; equal to a member of a batched run with the same settings.

    Args:
        training: what to train.
        options: how the Trainer runs; default on the CPU, quietly.
        engine: how task gradients are measured; default exactly.

    Returns:
        the network at its best epoch, with the history.
    """
    # together, because an engine may know parameters
    model, balancer, engine = copy.deepcopy((training.model, training.balancer, engine))
    module = MultiTaskModule(
        model,
        balancer,
        tasks=training.tensors.tasks,
        objective=training.objective,
        optimiser=training.optimiser,
        engine=engine,
    )
    return run_phases(
        module,
        TensorBatches(training.tensors, training.order),
        ValidationBatch(training.tensors),
        skeleton=training.model,
        schedule=training.schedule,
        measures=training.measures,
        options=options or TrainerOptions(),
        seed=training.seed,
    )
