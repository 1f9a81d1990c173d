"""Training many small networks of one shape in one batched computation.

The members of a run - seeds, tasks, learning rates, loss weights of one architecture - have their parameters stacked
and take every step together under ``torch.func.vmap``; each has its own row order, optimiser settings and early
stopping. A member that has stopped is masked, and taken out of the stack when that saves time. The result
of a member is that of training it alone (equal to rounding), so this is an optimisation and not another way to train.

Arithmetic. A 2 x 64 network at batch 64 needs about 4 MFLOP a step, some 0.05 ms, but 0.3 ms of Python and dispatch:
stacking M networks divides the latter by M.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskloom.data.batch import assemble
from taskloom.engine.functional import Step, StepFunction
from taskloom.fit._recorded import OverMembers
from taskloom.fit._stacked import StackedData, StackedOrders, StackedParameters, stacked_constants
from taskloom.fit._stacked_adamw import Rates, StackedAdamW
from taskloom.fit.result import FitResult, History
from taskloom.fit.training import Training
from taskloom.nn import batched_evaluation

__all__ = ["train_batched"]

# Validation inputs of all members are gathered at once up to this many numbers (256 MB in float32).
_LARGEST_GATHER = 64_000_000
# Training inputs are gathered for several steps at once up to this many numbers (they stay in the cache).
_EPOCH_GATHER = 1_000_000
# Floating point operations in the time that it takes to record one tensor operation (about 0.15 ms of one core).
_WORTH_A_RECORDING = 10_000_000


def train_batched(trainings: Sequence[Training]) -> list[FitResult]:
    """Train networks of one shape together.

    Args:
        trainings: members with one shape signature, none with a reason against batching
            (:mod:`taskloom.fit.batchable`).

    Returns:
        one result per member, in order; ``seconds`` is the run's wall time divided by its members.

    Cost:
        Memory for 4 M P numbers (parameters, gradient, two moments) and the best parameters; a step costs what M
        separate steps cost, less their dispatch.

    Example:
        >>> import taskloom as tl
        >>> from taskloom.data.tensors import TaskTensors
        >>> from taskloom.fit.training import Objective, Schedule
        >>> x = torch.randn(40, 3)
        >>> tasks = (tl.Task(name="a", kind=tl.Regression()),)
        >>> tensors = TaskTensors(tasks=tasks, inputs=x, targets=x[:, :1], mask=torch.ones(40, 1).bool(),
        ...                       train=np.arange(30), validation=np.arange(30, 40))
        >>> members = [
        ...     Training(tl.HardSharing(tl.nn.MLP(3, hidden=(4,)), tasks), tl.equal(), tensors, Objective.of(tensors),
        ...              schedule=Schedule(max_epochs=2), seed=seed) for seed in range(3)]
        >>> [result.history.epochs for result in train_batched(members)]
        [2, 2, 2]
    """
    if not trainings:
        return []
    # equal settings must stand together for the optimiser; a stable sort keeps the result independent of the order
    ranks = sorted(range(len(trainings)), key=lambda i: _block_key(trainings[i]))
    results = _BatchedRun([trainings[rank] for rank in ranks]).run()
    ordered: list[FitResult | None] = [None] * len(trainings)
    for rank, result in zip(ranks, results, strict=True):
        ordered[rank] = result
    return [result for result in ordered if result is not None]


def _groups(training: Training) -> list[tuple[set[str], Rates]]:
    """The optimiser's groups of a network: names of parameters, and their rates; groups without parameters are none."""
    names = {id(parameter): name for name, parameter in training.model.named_parameters()}
    settings = training.optimiser
    usual, *others = training.model.param_groups(settings.learning_rate, weight_decay=settings.weight_decay)
    found = [usual, *(group for group in others if group["params"])]
    return [({names[id(parameter)] for parameter in group["params"]}, _rates([group])) for group in found]


def _rates(groups: Sequence[dict[str, Any]]) -> Rates:
    """Rates of a single group, or of none."""
    return Rates(groups[0]["lr"], groups[0].get("weight_decay", 0.0)) if groups else Rates(0.0, 0.0)


def _block_key(training: Training) -> tuple[float, float, int]:
    return (training.optimiser.learning_rate, training.optimiser.weight_decay, training.order.steps)


class _BatchedRun:
    """State of one batched run. Arrays over members are indexed by the member's place in the run."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings = list(trainings)
        first = trainings[0]
        self.schedule = first.schedule
        self.n_tasks = len(first.tensors.tasks)
        self.tasks = first.tensors.tasks
        self.per_task = first.tensors.per_task
        self.function = StepFunction(first.model, first.balancer, self.tasks, per_task=self.per_task)
        self.data = StackedData([training.tensors for training in trainings])
        self.orders = StackedOrders([training.order for training in trainings])
        self.steps = self.orders.steps
        self.parameters = StackedParameters([training.model for training in trainings])
        self.constants = stacked_constants([training.model for training in trainings])
        self.own = StackedParameters([training.balancer for training in trainings])
        self.own_constants = stacked_constants([training.balancer for training in trainings])
        steps = self.steps.tolist()
        groups = [_groups(training) for training in trainings]
        apart = [self.parameters.columns(names) for names, _ in groups[0][1:]]
        rates = [tuple(own for _, own in member) for member in groups]
        self.optimiser = StackedAdamW(self.parameters.matrix, rates, steps, apart=apart)
        own_rates = [(_rates(training.balancer.parameter_groups()),) for training in trainings]
        self.own_optimiser = StackedAdamW(self.own.matrix, own_rates, steps)
        self.members = np.arange(len(trainings))  # which member each row of the stack is
        self.best = self.parameters.matrix.clone()
        self.best_score = np.full(len(trainings), np.inf)
        self.best_epoch = np.full(len(trainings), -1)
        self.done_steps = np.zeros(len(trainings), dtype=np.int64)
        self.records = _Records(len(trainings), self.n_tasks)
        self.objective_constants = torch.stack([training.objective.constants for training in trainings])
        labelled = torch.tensor([training.tensors.labelled_rows("validation") for training in trainings])
        self.counted = torch.stack([training.objective.scored for training in trainings]) & (labelled > 0)  # (M, K)
        self._take_step = OverMembers(self._step)
        self._measure = OverMembers(self._gramian)
        self._evaluate = OverMembers(self._validation_losses)
        self._validation: tuple[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]] | None = None

    # -- the run ----------------------------------------------------------------------------------------------

    def run(self) -> list[FitResult]:
        start = time.perf_counter()
        running = np.ones(len(self.trainings), dtype=bool)
        waited = np.zeros(len(self.trainings), dtype=np.int64)
        for epoch in range(self.schedule.max_epochs):
            train_loss, weights, diverged = self._train_epoch(epoch, running)
            losses = self._validate()  # (m, K)
            losses[diverged] = np.nan
            score = np.where(diverged, np.nan, self._score(losses))
            alive = running[self.members]
            members = self.members[alive]
            self.records.add(members, train_loss[alive], losses[alive], weights[alive], score[alive])
            better = members[score[alive] < self.best_score[members]]
            waited[members] += 1
            waited[better] = 0
            self.best_score[better] = score[np.isin(self.members, better)]
            self.best_epoch[better] = epoch
            rows = torch.from_numpy(np.flatnonzero(np.isin(self.members, better)))
            self.best[torch.from_numpy(better)] = self.parameters.matrix[rows]
            failed = members[~np.isfinite(score[alive])]
            running[members[waited[members] >= self.schedule.patience]] = False
            running[failed] = False
            if not running.any():
                break
            self._compact(running)
        seconds = (time.perf_counter() - start) / len(self.trainings)
        return [self._result(member, seconds) for member in range(len(self.trainings))]

    def _train_epoch(self, epoch: int, running: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One epoch: mean losses and weights (m, K), and which rows of the stack have diverged (m,)."""
        steps = self.steps[self.members]
        measured = np.asarray([self.trainings[member].measures(epoch) for member in self.members])
        standing = (self.parameters.matrix, self.constants, self.own.matrix, self.own_constants)
        diverged = torch.zeros(len(self.members), dtype=torch.bool)
        taken: list[tuple[Tensor, Tensor, Tensor]] = []
        for step, batch in enumerate(self._batches(epoch)):
            if step == 0 and measured.any():
                gramians = self._measure(standing[:2], *batch).double().numpy()
                for row in np.flatnonzero(measured & running[self.members]):
                    self.records.measured(int(self.members[row]), epoch, gramians[row])
            *found, gradient, own_gradient = self._take_step(standing, *batch, self._draws(epoch, step))
            taken.append(tuple(found))
            skipped = (steps <= step).tolist()
            self.optimiser.step(gradient, skipped)
            self.own_optimiser.step(own_gradient, skipped)
            diverged |= self._replace_diverged()
        self.done_steps[self.members] += np.where(running[self.members], steps, 0)
        losses, weights, active = (torch.stack(one) for one in zip(*taken, strict=True))  # (steps, m, K)
        took = active & (torch.from_numpy(steps) > torch.arange(len(taken))[:, None])[..., None]
        counts = took.sum(0)
        loss_sum = torch.where(took, losses.double(), 0.0).sum(0)
        weight_sum = torch.where(took, weights.double(), 0.0).sum(0)
        diverged |= ~loss_sum.isfinite().all(1)
        mean_loss, mean_weight = (loss_sum / counts).numpy(), (weight_sum / counts).numpy()
        mean_loss[diverged.numpy()] = mean_weight[diverged.numpy()] = np.nan
        return mean_loss, mean_weight, diverged.numpy()

    def _batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Inputs, targets and masks of all members, step by step; gathered for several steps at once."""
        rows, real = self.orders.epoch(epoch, self.members)
        numbers = rows[0].size * int(np.prod(self.data.inputs.shape[1:]))
        at_once = max(1, _EPOCH_GATHER // numbers)
        for start in range(0, len(rows), at_once):
            block = slice(start, start + at_once)
            yield from zip(*(part.unbind(0) for part in self.data.gather(self.members, rows[block], real[block])))

    def _step(
        self,
        row: Tensor,
        constants: dict[str, Tensor],
        own_row: Tensor,
        own_constants: dict[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        mask: Tensor,
        draws: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """One member's step: losses, weights and presence (K,), gradients (P,) of the network and of the balancer."""
        parameters, own = self.parameters.views(row), self.own.views(own_row)
        step: Step = self.function.gradients(parameters, constants, own, own_constants, inputs, targets, mask, draws)
        return (
            step.losses,
            step.weights,
            step.active,
            self.parameters.flatten(step.gradients),
            self.own.flatten(step.balancer_gradients),
        )

    def _gramian(self, row: Tensor, constants: dict[str, Tensor], *batch: Tensor) -> Tensor:
        return self.function.gramian(self.parameters.views(row), constants, *batch)

    def _replace_diverged(self) -> Tensor:
        """Which rows (m,) are not finite any more; they get their best parameters back.

        What follows in their epoch does not count, but must be finite: one eigenvalue problem that cannot be solved
        ends the computation for all members.
        """
        matrix = self.parameters.matrix
        if math.isfinite(torch.linalg.vector_norm(matrix).item()):  # one pass over memory
            return torch.zeros(len(matrix), dtype=torch.bool)
        diverged: Tensor = ~matrix.isfinite().all(1)
        matrix[diverged] = self.best[torch.from_numpy(self.members)[diverged]]
        return diverged

    def _draws(self, epoch: int, step: int) -> Tensor | None:
        """Random numbers of this step, (m, ...), each member's from its own balancer's seed."""
        if self.trainings[0].balancer.draw_shape(self.n_tasks) is None:
            return None
        numbers = [
            self.trainings[member].balancer.draw(self.n_tasks, step=epoch * int(self.steps[member]) + step)
            for member in self.members
        ]
        return torch.stack([number for number in numbers if number is not None])

    # -- validation -------------------------------------------------------------------------------------------

    def _validation_losses(
        self, row: Tensor, constants: dict[str, Tensor], inputs: Tensor, targets: Tensor, mask: Tensor
    ) -> Tensor:
        batch = assemble(self.tasks, inputs, targets, mask, per_task=self.per_task)
        outputs = self.function.outputs(self.parameters.views(row), constants, inputs)
        return self.trainings[0].objective.losses(outputs, batch.targets, batch.mask)

    def _validate(self) -> np.ndarray:
        losses = []
        model = self.function.model
        model.eval()
        try:
            for standing, batch in self._validation_batches():
                with torch.no_grad(), batched_evaluation():
                    losses.append(self._evaluate(standing, *batch))
        finally:
            model.train()
        return torch.cat(losses).double().numpy()

    def _validation_batches(self) -> Iterator[tuple[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]]]:
        """Parameters and constants of some members with their validation rows; kept while all fit at once."""
        if self._validation is not None:
            yield self._validation
            return
        parts = [self.trainings[member].tensors.part("validation") for member in self.members]
        width = max(rows.shape[-1] for rows, _ in parts)
        numbers = width * (self.n_tasks if self.per_task else 1) * int(np.prod(self.data.inputs.shape[1:]))
        at_once = max(1, _LARGEST_GATHER // max(1, numbers))
        for start in range(0, len(self.members), at_once):
            block = slice(start, start + at_once)
            rows = np.stack([_pad(rows, width) for rows, _ in parts[block]])
            real = np.stack([_pad(real, width) for _, real in parts[block]])
            constants = {name: value[block] for name, value in self.constants.items()}
            batch = self.data.gather(self.members[block], rows, real)
            found = ((self.parameters.matrix[block], constants), batch)
            if at_once >= len(self.members):
                self._validation = found
            yield found

    def _score(self, losses: np.ndarray) -> np.ndarray:
        values = torch.from_numpy(losses)
        index = torch.from_numpy(self.members)
        counts = self.counted[index]
        relative = torch.where(counts, values / self.objective_constants[index].double(), 0.0)
        return (relative.sum(-1) / counts.sum(-1).clamp(min=1)).numpy()

    # -- keeping the stack small ------------------------------------------------------------------------------

    def _compact(self, running: np.ndarray) -> None:
        """Take stopped members out of the stack once that saves time.

        The dispatch of a step costs the same for any number of members, and a stack of another size is recorded anew.
        The arithmetic that is saved until the last member can have stopped must be worth it. The rule counts
        operations and not seconds, so that a repeated run takes the same decisions.
        """
        keep = np.flatnonzero(running[self.members])
        width = self.orders.width * (self.n_tasks if self.per_task else 1)
        arithmetic = 6 * width * self.parameters.matrix.numel()  # of a step, forward and backward, of dense layers
        saved = arithmetic * (1 - len(keep) / len(self.members)) * self.schedule.patience * int(self.steps.max())
        recordings = sum(one.n_operations for one in (self._take_step, self._measure, self._evaluate))
        if saved < _WORTH_A_RECORDING * recordings:
            return
        index = torch.from_numpy(keep)
        rows = keep.tolist()
        self.members = self.members[keep]
        self._validation = None
        for stack, optimiser in ((self.parameters, self.optimiser), (self.own, self.own_optimiser)):
            stack.matrix = stack.matrix[index].clone()
            optimiser.select(stack.matrix, rows)
        self.constants = {name: value[index] for name, value in self.constants.items()}
        self.own_constants = {name: value[index] for name, value in self.own_constants.items()}

    def _result(self, member: int, seconds: float) -> FitResult:
        training = self.trainings[member]
        state = {**training.model.state_dict(), **self.parameters.row(self.best, member)}
        return FitResult(
            skeleton=training.model,
            state=state,
            history=self.records.history(member, training.model.tasks),
            best_epoch=int(self.best_epoch[member]),
            steps=int(self.done_steps[member]),
            seconds=seconds,
        )


class _Records:
    """Losses, weights and scores of every member, epoch by epoch."""

    def __init__(self, n_members: int, n_tasks: int) -> None:
        self._rows: list[list[tuple[np.ndarray, np.ndarray, np.ndarray, float]]] = [[] for _ in range(n_members)]
        self._measured: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(n_members)]
        self._n_tasks = n_tasks

    def add(
        self, members: np.ndarray, train: np.ndarray, validation: np.ndarray, weights: np.ndarray, score: np.ndarray
    ) -> None:
        for place, member in enumerate(members):
            self._rows[member].append((train[place], validation[place], weights[place], float(score[place])))

    def measured(self, member: int, epoch: int, gramian: np.ndarray) -> None:
        self._measured[member].append((epoch, gramian))

    def history(self, member: int, tasks: tuple[str, ...]) -> History:
        rows, measured = self._rows[member], self._measured[member]
        return History(
            tasks=tasks,
            train_loss=np.stack([row[0] for row in rows]),
            validation_loss=np.stack([row[1] for row in rows]),
            weights=np.stack([row[2] for row in rows]),
            score=np.asarray([row[3] for row in rows]),
            measured=tuple(epoch for epoch, _ in measured),
            gramians=np.stack([gramian for _, gramian in measured])
            if measured
            else np.zeros((0, self._n_tasks, self._n_tasks)),
        )


def _pad(array: np.ndarray, width: int) -> np.ndarray:
    """Pad the last axis with zeros (row 0, not real)."""
    return np.pad(array, [*[(0, 0)] * (array.ndim - 1), (0, width - array.shape[-1])])
