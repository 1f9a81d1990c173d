"""What one optimiser step costs under each candidate, measured side by side.

The training times of a comparison do not say it: chosen networks differ in width, some trained in a batch with others
and some alone, and the machine was busy with other things at different times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import compress

import torch

from taskloom.engine import balance
from taskloom.fit.training import Training, is_trained_in_phases
from taskloom.losses import task_losses
from taskloom.nn.fork import gates
from taskloom.study.candidate import Candidate
from taskloom.study.problem import Problem
from taskloom.study.space import default_settings

__all__ = ["step_milliseconds"]

_TURNS = 11
_STEPS = 3  # of one candidate in one turn
_ENOUGH_SECONDS = 1.0  # turns after which so much time has passed for every candidate are left out, but for three


def step_milliseconds(candidates: Sequence[Candidate], problem: Problem) -> dict[str, float]:
    """Processor time of one step, for every candidate that trains one network for all tasks.

    Each candidate has its network of default size and steps through its batches in a plain loop around
    :func:`taskloom.balance`. Candidates take turns, so that what else the machine does falls on all of them; times
    are medians over turns of the ratio to the first candidate, in units of its median time.

    Args:
        candidates: what is compared; those without one network that learns all tasks at once are left out.
        problem: the data under one seed.

    Returns:
        name of the candidate -> milliseconds.

    Example:
        >>> import numpy as np, taskloom as tl
        >>> from taskloom.data import RandomSplit
        >>> from taskloom.study.catalogue import choose
        >>> x = np.random.default_rng(0).normal(size=(60, 3))
        >>> kinds = {"a": tl.Regression(), "b": tl.Regression()}
        >>> data = tl.MultiTaskData.from_arrays(x, {"a": x[:, 0], "b": x[:, 1]}, kinds)
        >>> candidates, _ = choose(["linear"], data)
        >>> list(step_milliseconds(candidates, Problem(data, RandomSplit(), 0)))
        ['hard_sharing']
    """
    steppers = {one.name: step for one in candidates if (step := _stepper(one, problem)) is not None}
    if not steppers:
        return {}
    for step in steppers.values():
        step()  # what is made or checked in the first step
    turns: list[dict[str, float]] = []
    began = time.process_time()
    while len(turns) < _TURNS and (len(turns) < 3 or time.process_time() - began < _ENOUGH_SECONDS * len(steppers)):
        turns.append({name: _seconds(step) for name, step in steppers.items()})
    first = next(iter(steppers))
    unit = 1e3 / _STEPS * statistics.median(turn[first] for turn in turns)
    return {name: unit * statistics.median(turn[name] / turn[first] for turn in turns) for name in steppers}


def _seconds(step: Callable[[], None]) -> float:
    began = time.process_time()
    for _ in range(_STEPS):
        step()
    return max(time.process_time() - began, 1e-9)


def _stepper(candidate: Candidate, problem: Problem) -> Callable[[], None] | None:
    """One step of a candidate's training on the next batch: losses, balance, backward, optimiser."""
    if candidate.family not in ("joint", "pooled"):
        return None
    try:
        trainings = next(candidate.plan.learn(problem, default_settings(candidate.plan.space(problem.data))))
    except StopIteration:  # a plan without networks
        return None
    if len(trainings) != 1 or len(trainings[0].tensors.tasks) != len(problem.tasks):
        return None
    if is_trained_in_phases(trainings[0].model):
        return None
    return _step_of(trainings[0])


def _step_of(training: Training) -> Callable[[], None]:
    model, balancer, tasks = training.model.train(), training.balancer, training.tensors.tasks
    groups = [{"params": list(model.parameters())}, *balancer.parameter_groups()]
    optimiser = torch.optim.AdamW(groups, lr=training.optimiser.learning_rate)
    rows, real = training.order.epoch(0)
    n_steps = 0

    def step() -> None:
        nonlocal n_steps
        place = n_steps % len(rows)
        n_steps += 1
        batch = training.tensors.batch(rows[place], real[place])
        with gates(model) if balancer.looks_at_features else nullcontext():
            outputs = model(batch.inputs)
        losses, active = task_losses(tasks, outputs, targets=batch.targets, mask=batch.mask)
        present = dict(compress(zip(model.tasks, losses.unbind(), strict=True), active.tolist()))
        scalar = balance(present, balancer, shared=model, on_nonfinite="skip")
        for penalty in model.penalties().values():
            scalar = scalar + penalty
        optimiser.zero_grad()
        scalar.backward()
        optimiser.step()
        if balancer.observes:
            with torch.no_grad():
                losses, _ = task_losses(tasks, model(batch.inputs), targets=batch.targets, mask=batch.mask)
            balancer.observe(losses)

    return step
