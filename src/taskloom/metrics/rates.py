"""Do the tasks learn at different rates? Often that, and not harm, is behind an apparent negative transfer.

    e*_t = epoch of the lowest validation loss of task t
    r_t(k) = (L_t(k) / L_t(0)) / mean_u (L_u(k) / L_u(0))          relative training rate, 1 = like the others
    regret_t = L_t(shared checkpoint) - min_k L_t(k)               what one checkpoint for all tasks costs task t

Rates explain a bad outcome; only the outcome itself (:func:`taskloom.metrics.transfer_report`) is negative transfer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from taskloom.errors import DataError, TaskError, nearest

__all__ = ["RateReport", "TaskRate", "best_epoch", "checkpoint_regret", "rate_report", "relative_training_rates"]

#: Ratio of the last to the first best epoch above which tasks count as learning at different rates.
_LARGEST_RATIO = 2.0


def best_epoch(curve: ArrayLike) -> int:
    """Epoch of the lowest loss of a curve, counted from 1; the first one if there are several.

    Args:
        curve: validation loss of every epoch, shape (epochs,); NaN where it was not measured.

    Returns:
        the epoch.

    Raises:
        DataError: the curve has no finite value.

    Example:
        >>> best_epoch([0.9, 0.4, 0.4, 0.7])
        2
    """
    return _lowest(_curve(curve, "best_epoch")) + 1


def checkpoint_regret(curve: ArrayLike, shared_epoch: int) -> float:
    """How much lower the loss of a task was at its own best epoch than at the epoch kept for all tasks.

    Args:
        curve: validation loss of every epoch, shape (epochs,).
        shared_epoch: epoch of the shared checkpoint, counted from 1.

    Returns:
        regret >= 0, in units of the loss; NaN if the loss was not measured at that epoch.

    Raises:
        DataError: the curve has no finite value, or no such epoch.

    Example:
        >>> checkpoint_regret([0.9, 0.4, 0.5], 3)
        0.1
    """
    values = _curve(curve, "checkpoint_regret")
    if not 1 <= shared_epoch <= len(values):
        raise DataError(f"checkpoint_regret: found epoch {shared_epoch}, expected one of 1 to {len(values)}")
    return float(values[shared_epoch - 1] - values[_lowest(values)])


def relative_training_rates(losses: ArrayLike) -> np.ndarray:
    """Rate at which each task learns, relative to the mean of the tasks: below 1 is faster, above 1 slower.

        r_t(k) = (L_t(k) / L_t(0)) / mean_u (L_u(k) / L_u(0))

    Args:
        losses: loss of every epoch and task, shape (epochs, K); the first row is L(0).

    Returns:
        rates, shape (epochs, K); every row has mean 1.

    Raises:
        DataError: not a table, or a first loss that is not positive.

    Source:
        Chen, Badrinarayanan, Lee and Rabinovich, GradNorm, ICML 2018 (inverse training rate).

    Example:
        >>> relative_training_rates([[2.0, 4.0], [1.0, 3.0]]).tolist()
        [[1.0, 1.0], [0.8, 1.2]]
    """
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or 0 in table.shape:
        raise DataError(f"relative_training_rates: found shape {table.shape}, expected (epochs, tasks)")
    if not (table[0] > 0.0).all():
        raise DataError(
            f"relative_training_rates: found first losses {table[0].tolist()}, expected positive ones, because "
            "rates are relative to them"
        )
    progress = table / table[0]
    return np.asarray(progress / progress.mean(axis=1, keepdims=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRate:
    """How one task learned, over seeds.

    Args:
        task: name of the task.
        best_epoch: epoch of its lowest validation loss, mean over seeds, counted from 1.
        checkpoint_regret: loss at the shared checkpoint less its lowest loss, mean over seeds.
        sd: standard deviation over seeds of its loss at the shared checkpoint; NaN for one seed.
        relative_rate: relative training rate at the shared checkpoint, mean over seeds; NaN if losses are not positive.
        rate_mismatch: True if the regret exceeds the standard deviation, or its best epoch lies more than a factor of 2
            from that of another task.

    Example:
        >>> rate_report({"a": {0: [2.0, 1.0]}, "b": {0: [2.0, 1.0]}}).tasks[0].best_epoch
        2.0
    """

    task: str
    best_epoch: float
    checkpoint_regret: float
    sd: float
    relative_rate: float
    rate_mismatch: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RateReport:
    """How the tasks of one model learned, and whether one checkpoint for all of them is to blame.

    Args:
        tasks: one entry per task.
        epoch_ratio: latest best epoch over earliest best epoch.
        rate_mismatch: True if any task is flagged.
        shared_epochs: seed -> epoch of the shared checkpoint.

    Example:
        >>> print(rate_report({"a": {0: [3.0, 1.0, 2.0, 2.0, 2.0]}, "b": {0: [3.0, 2.9, 2.8, 0.5, 0.1]}}))
        The tasks learn at different rates: their best epochs are a factor of 2.5 apart; the checkpoint
        kept for all of them is epoch 5.
        - a: best at epoch 2; the shared checkpoint costs it 1 (rate mismatch).
        - b: best at epoch 5; the shared checkpoint costs it 0 (rate mismatch).
    """

    tasks: tuple[TaskRate, ...]
    epoch_ratio: float
    rate_mismatch: bool
    shared_epochs: Mapping[int, int]

    def __getitem__(self, task: str) -> TaskRate:
        """Rate of a task by its name.

        Raises:
            TaskError: the report has no such task.
        """
        for rate in self.tasks:
            if rate.task == task:
                return rate
        raise TaskError(f"the report has no task {task!r}.{nearest(task, (rate.task for rate in self.tasks))}")

    def text(self) -> str:
        """The report in plain words."""
        verb = "learn" if self.rate_mismatch else "do not learn"
        epoch = float(np.mean(list(self.shared_epochs.values())))
        head = f"The tasks {verb} at different rates: their best epochs are a factor of {self.epoch_ratio:.1f} apart"
        lines = [f"{head}; the checkpoint kept for all of them is epoch {epoch:.0f}."]
        for rate in self.tasks:
            remark = " (rate mismatch)" if rate.rate_mismatch else ""
            lines.append(
                f"- {rate.task}: best at epoch {rate.best_epoch:.0f}; the shared checkpoint costs it "
                f"{rate.checkpoint_regret:.3g}{remark}."
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()


def rate_report(
    curves: Mapping[str, Mapping[int, Sequence[float]]], *, shared_epochs: Mapping[int, int] | None = None
) -> RateReport:
    """Best epochs, relative rates and checkpoint regret of the tasks of one jointly trained model.

    A mismatch is flagged when the best epochs lie more than a factor of 2 apart, or when a task at its own best epoch
    is better than at the shared checkpoint by more than its standard deviation over seeds.

    Args:
        curves: validation loss per epoch, task -> seed -> (epochs,); lower is better, the same seeds for every task,
            the same epochs for every task of a seed; NaN where not measured.
        shared_epochs: seed -> epoch (from 1) of the checkpoint that was kept; default: the epoch with the lowest mean
            of the losses, each relative to its first value.

    Returns:
        the report.

    Raises:
        TaskError: no tasks.
        DataError: seeds or lengths differ between tasks, a curve has no finite value, or the default checkpoint is
            asked for with a first loss that is not positive. The message names the task.

    Example:
        >>> report = rate_report({"a": {0: [3.0, 1.0, 2.0, 2.0]}, "b": {0: [3.0, 2.9, 2.8, 0.5]}})
        >>> report["a"].checkpoint_regret, report.epoch_ratio
        (1.0, 2.0)
    """
    seeds = _checked_seeds(curves)
    tables = {
        seed: np.array([_curve(curves[task][seed], f"task {task!r}, seed {seed}") for task in curves]) for seed in seeds
    }
    own = np.array([[_lowest(row) for row in tables[seed]] for seed in seeds]) + 1  # (S, K)
    if shared_epochs is None:
        shared_epochs = {seed: _shared_epoch(tables[seed], tuple(curves)) for seed in seeds}
    regrets, kept, rates = np.empty(own.shape), np.empty(own.shape), np.full(own.shape, np.nan)
    for s, seed in enumerate(seeds):
        if seed not in shared_epochs:
            raise DataError(
                f"rate_report: shared_epochs has no entry for seed {seed}; give the checkpoint of every seed"
            )
        epoch = shared_epochs[seed]
        regrets[s] = [checkpoint_regret(row, epoch) for row in tables[seed]]
        kept[s] = tables[seed][:, epoch - 1]
        if (tables[seed][:, 0] > 0.0).all():
            rates[s] = relative_training_rates(tables[seed].T)[epoch - 1]
    epochs = own.mean(axis=0)
    spread = kept.std(axis=0, ddof=1) if len(seeds) > 1 else np.full(len(curves), math.nan)
    is_apart = np.maximum(epochs.max() / epochs, epochs / epochs.min()) > _LARGEST_RATIO
    is_costly = regrets.mean(axis=0) > spread  # False against NaN: one seed has no spread
    return RateReport(
        tasks=tuple(
            TaskRate(
                task=task,
                best_epoch=float(epochs[k]),
                checkpoint_regret=float(regrets[:, k].mean()),
                sd=float(spread[k]),
                relative_rate=float(rates[:, k].mean()),
                rate_mismatch=bool(is_apart[k] or is_costly[k]),
            )
            for k, task in enumerate(curves)
        ),
        epoch_ratio=float(epochs.max() / epochs.min()),
        rate_mismatch=bool((is_apart | is_costly).any()),
        shared_epochs=dict(shared_epochs),
    )


def _checked_seeds(curves: Mapping[str, Mapping[int, Sequence[float]]]) -> tuple[int, ...]:
    """Seeds of the curves, the same for every task, with curves of one length per seed."""
    if not curves:
        raise TaskError("rate_report: found no tasks, expected curves as {task: {seed: losses}}")
    first = next(iter(curves))
    seeds = tuple(sorted(curves[first]))
    if not seeds:
        raise DataError(f"rate_report: task {first!r} has no curves; expected one per seed")
    for task, by_seed in curves.items():
        if tuple(sorted(by_seed)) != seeds:
            raise DataError(
                f"rate_report: task {task!r} has seeds {sorted(by_seed)}, task {first!r} has {list(seeds)}; expected "
                "the same seeds, because the tasks are those of one model"
            )
        for seed in seeds:
            if len(by_seed[seed]) != len(curves[first][seed]):
                raise DataError(
                    f"rate_report: seed {seed}: task {task!r} has {len(by_seed[seed])} epochs, task {first!r} has "
                    f"{len(curves[first][seed])}; expected the same epochs, because the tasks are those of one model"
                )
    return seeds


def _shared_epoch(table: np.ndarray, names: tuple[str, ...]) -> int:
    """Epoch with the lowest mean of losses relative to their first value, from 1; table has shape (K, epochs)."""
    broken = np.flatnonzero(~(table[:, 0] > 0.0))
    if len(broken):
        raise DataError(
            f"rate_report: the first loss of task {names[broken[0]]!r} is {table[broken[0], 0]:g}; expected a positive "
            "number to choose the shared checkpoint by relative losses. Give shared_epochs."
        )
    return _lowest((table / table[:, :1]).mean(axis=0)) + 1


def _lowest(values: np.ndarray) -> int:
    """Position of the lowest finite value."""
    return int(np.argmin(np.where(np.isfinite(values), values, np.inf)))


def _curve(values: ArrayLike, what: str) -> np.ndarray:
    """A curve as a float64 vector with at least one finite value."""
    curve = np.asarray(values, dtype=np.float64)
    if curve.ndim != 1 or not np.isfinite(curve).any():
        raise DataError(
            f"{what}: found a curve of shape {curve.shape} without a finite loss; expected one loss per epoch"
        )
    return curve
